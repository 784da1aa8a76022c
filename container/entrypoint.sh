#!/bin/sh
# Everything runs in /out, the container's one folder for results, caches and Snakemake's own notes. The package itself
# is read-only and only linked there. What /out has already is kept: a checkout mounted there runs its own code.
set -eu

package=/opt/loro
if ! [ -w . ]; then
    echo "error: uid $(id -u) cannot write to $PWD: make a folder that it owns and mount it, -v \"\$PWD/out:/out\"." >&2
    exit 1
fi
mkdir -p results models
for path in "$package"/* "$package"/results/* "$package"/models/*; do
    name=${path#"$package"/}
    [ -e "$name" ] || ln -sf "$path" "$name"
done
exec "$@"
