"""Images made by hand: layers entry by entry, and the layouts, archives and documents around them."""
import dataclasses
import gzip
import hashlib
import io
import json
import os
import pathlib
import subprocess
import tarfile

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def entry(name, content=b"", kind=tarfile.REGTYPE, link="", mode=None, uid=0, gid=0, mtime=1000000000, pax=None, **more):
    """One tar entry with its content."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.uid, info.gid, info.mtime = kind, link, uid, gid, mtime
    info.size = len(content)
    info.mode = mode if mode is not None else 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.pax_headers = pax or {}
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def directory(name, **more):
    return entry(name, kind=tarfile.DIRTYPE, **more)


def symlink(name, to, **more):
    return entry(name, kind=tarfile.SYMTYPE, link=to, **more)


def hardlink(name, to, **more):
    return entry(name, kind=tarfile.LNKTYPE, link=to, **more)


def tar(*entries, format=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def tree(path):
    """A directory as a layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(path, arcname=".")
    return out.getvalue()


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


@dataclasses.dataclass
class Image:
    """Blobs by digest, and the descriptor of the manifest."""

    blobs: dict
    manifest: dict
    config: bytes
    tars: list

    @property
    def digest(self):
        return self.manifest["digest"]


def put(blobs, data, media_type, **more):
    blobs[digest(data)] = data
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


def image(*tars, config=None, pack=gzip.compress, suffix="+gzip", docker=False, edit=None):
    """An image of these layers. `edit(manifest, config)` may spoil the documents before they are sealed."""
    blobs = {}
    conf = {"architecture": ARCHITECTURE, "os": "linux", "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [digest(t) for t in tars]}}
    document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST if docker else MANIFEST,
                "layers": [put(blobs, pack(t), LAYER + suffix) for t in tars]}
    if edit:
        edit(document, conf)
    conf_bytes = json.dumps(conf).encode()
    document.setdefault("config", put(blobs, conf_bytes, CONFIG))
    manifest = put(blobs, json.dumps(document).encode(), document.get("mediaType", MANIFEST))
    return Image(blobs, manifest, conf_bytes, list(tars))


def index(blobs, *manifests, **more):
    """An index of manifests, as one of the blobs; its descriptor."""
    return put(blobs, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests), **more}).encode(), INDEX)


def layout(path, *images, names=("v1",)):
    """An OCI layout directory; one name per image."""
    path = pathlib.Path(path)
    (path / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    manifests = []
    for made, name in zip(images, names):
        for key, data in made.blobs.items():
            (path / "blobs/sha256" / key.partition(":")[2]).write_bytes(data)
        manifests.append({**made.manifest, "annotations": {"org.opencontainers.image.ref.name": name}} if name else made.manifest)
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    return path


def oci_archive(path, *images, names=("v1",)):
    made = layout(str(path) + ".d", *images, names=names)
    with tarfile.open(path, "w") as archive:
        for child in sorted(made.iterdir()):
            archive.add(child, arcname=child.name)
    return path


def docker_archive(path, made, tags=("shop/web:1",), new=False):
    """What `docker save` writes: before Docker 25, or since."""
    entries = []
    if new:
        with_layout = layout(str(path) + ".d", made)
        entries += [(tarfile.TarInfo("oci-layout"), (with_layout / "oci-layout").read_bytes()),
                    (tarfile.TarInfo("index.json"), (with_layout / "index.json").read_bytes())]
        entries += [(tarfile.TarInfo("blobs/sha256/" + k.partition(":")[2]), v) for k, v in made.blobs.items()]
        layers = ["blobs/sha256/" + l["digest"].partition(":")[2] for l in json.loads(made.blobs[made.digest])["layers"]]
        config = "blobs/sha256/" + digest(made.config).partition(":")[2]
    else:
        config = digest(made.config).partition(":")[2] + ".json"
        layers = [f"{i:064x}/layer.tar" for i in range(len(made.tars))]
        entries += [(tarfile.TarInfo(config), made.config)]
        entries += [(tarfile.TarInfo(name), data) for name, data in zip(layers, made.tars)]
    manifest = json.dumps([{"Config": config, "RepoTags": list(tags), "Layers": layers}]).encode()
    entries.append((tarfile.TarInfo("manifest.json"), manifest))
    with tarfile.open(path, "w") as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
