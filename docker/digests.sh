#!/bin/sh
# Write the base image of each Dockerfile by the digest that its tag has now: FROM NAME:TAG@sha256:…
# `make digests` runs this. It was never run here with a real docker, for want of Docker and a registry of images.
set -eu
cd "$(dirname "$0")"

for file in Dockerfile Dockerfile.cpu; do
    image=$(sed -n 's/^FROM \([^@ ]*\).*/\1/p' "$file")
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image")
    if ! printf '%s\n' "$digest" | grep -Eqx 'sha256:[0-9a-f]{64}'; then
        echo "docker/$file is unchanged: docker gave no digest of $image but: $digest" >&2
        exit 1
    fi
    sed "s|^FROM .*|FROM $image@$digest|" "$file" > "$file.new"
    mv "$file.new" "$file"
    echo "docker/$file: $image@$digest"
done
