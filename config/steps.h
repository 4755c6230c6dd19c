/* The steps from a decoded spec to a valid one, in the order in which cfg_read takes them. Each gets the tree
 * too, for the places of its faults. They return 0 (faults in d) or -ENOMEM. */
#pragma once
#include "config/diag.h"
#include "config/node.h"
#include "config/spec.h"

/* Reads env_file and puts its variables beneath those of `environment`. */
int env_merge(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d);
/* Recognises the kind of image; makes rootfs: absolute. */
int image_locate(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d);
/* Reads the file that `seccomp` names: from here on it is the profile itself. */
int seccomp_read(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d);
/* Makes the sources of bound volumes absolute. */
int volumes_locate(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d);
/* Reads the files of secrets: from here on a secret has a digest, and its value where it was read. */
int secrets_load(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d);
/* Fills in what follows from other keys: port names and addresses, the port to probe. */
int derive_defaults(struct spec *s);
/* The rules between keys. */
void validate_spec(const struct spec *s, const struct node *root, struct diag_list *d);
/* Of these, those about what a container gets of its host. */
void validate_container(const struct spec *s, const struct node *root, struct diag_list *d);
void volumes_check(const struct spec *s, const struct node *root, struct diag_list *d);
void secrets_check(const struct spec *s, const struct node *root, struct diag_list *d);
