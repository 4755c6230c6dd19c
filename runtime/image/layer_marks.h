/* What a layer's directory tree says beyond its files, as extended attributes: written by teal-unpack, read
 * when layers are merged. An archive can't bring attributes of these names. */
#pragma once

/* overlayfs's own forms: a character device 0:0 hides one name of the layers below, this attribute on a
 * directory hides all that they have in it. */
#define MARK_OPAQUE "user.overlay.opaque"
/* A directory that the layer only passes through: it has no owner, mode or times to give. */
#define MARK_IMPLICIT "user.teal.implicit"
/* An empty file that stands for a hard link to a file of a layer below; the value is its path. */
#define MARK_LINK "user.teal.link"
