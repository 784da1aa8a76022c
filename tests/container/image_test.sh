#!/usr/bin/env bash
# Build the real Dockerfile and run the image as a stranger would: offline, read-only, as a user that it does not know.
#
#     tests/container/image_test.sh        (as root, on Debian or Ubuntu; no Docker, base image or GPU is needed)
#
# A minimal system of this machine's own distribution stands in for the base image. Packages come from where apt and pip
# of this machine take theirs; nothing of their configuration stays in the image. All is removed in the end.
set -euo pipefail
cd "$(dirname "$0")/../.."

[[ $(id --user) == 0 ]] || { echo "error: only root can make the stand-in for the base image" >&2; exit 2; }
readonly USER_ID=54321 IMAGE=localhost/loro BASE=localhost/base
scratch=$(mktemp --directory)
readonly scratch

clean_up() {
    podman rm --force --all &> /dev/null || true
    podman rmi --force --all &> /dev/null || true
    awk -v scratch="$scratch/" 'index($2, scratch) == 1 { print $2 }' /proc/mounts | sort --reverse \
        | xargs --no-run-if-empty umount
    rm --recursive --force --one-file-system "$scratch"
}

say() { printf '\n=== %s (%d s)\n' "$1" "$SECONDS"; }

fail() { echo "FAILED: $1" >&2; exit 1; }

install_tools() {
    if ! type podman runc debootstrap &> /dev/null; then
        apt-get install --yes --no-install-recommends podman runc debootstrap > /dev/null
    fi
}

# An engine whose images, containers and notes all lie in the scratch folder.
configure_engine() {
    cat > "$scratch/containers.conf" <<- END
		[containers]
		netns = "host"
		default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
		[engine]
		runtime = "runc"
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		tmp_dir = "$scratch/engine"
	END
    cat > "$scratch/storage.conf" <<- END
		[storage]
		driver = "overlay"
		graphroot = "$scratch/images"
		runroot = "$scratch/run"
	END
    export CONTAINERS_CONF=$scratch/containers.conf CONTAINERS_STORAGE_CONF=$scratch/storage.conf TMPDIR=$scratch
}

# The distribution, mirror and components that apt uses here, or BASE_SUITE, BASE_MIRROR and BASE_COMPONENTS.
make_base() {
    local suite=${BASE_SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
    local targets=(apt-get indextargets "Created-By: Packages" "Codename: $suite" --format)
    local mirror=${BASE_MIRROR:-$("${targets[@]}" '$(REPO_URI)' | head --lines 1)}
    local components=${BASE_COMPONENTS:-$("${targets[@]}" '$(COMPONENT)' | sort --unique | paste --serial --delimiters ,)}
    [[ $mirror ]] || fail "apt knows no packages of $suite: run apt-get update"
    debootstrap --variant=minbase --components="$components" "$suite" "$scratch/base" "$mirror" > "$scratch/base.log" \
        || { tail "$scratch/base.log" >&2; fail "debootstrap"; }
    rm --recursive --force "$scratch"/base/var/lib/apt/lists/* "$scratch"/base/var/cache/apt/archives/*.deb
    tar --directory "$scratch/base" --create . | podman import --quiet - "$BASE"
    rm --recursive --force --one-file-system "$scratch/base"
}

# pip's configuration here as one file, and the options that mount it and the folders it names into the build alone.
# Certificates get a name of their own: installing ca-certificates replaces the file of the usual one.
build_options() {
    local settings value path
    settings=$(python3 -m pip config list | sed --quiet "s/^[^.]*\.\([^=]*\)='\(.*\)'$/\1 = \2/p" | awk '!seen[$1]++')
    { echo "[global]"; sed 's|^cert = .*|cert = /mnt/certificates.crt|; s|\\n|\n    |g' <<< "$settings"; } \
        > "$scratch/pip.conf"
    options=(--volume "$scratch/pip.conf:/etc/pip.conf:ro")
    value=$(sed --quiet 's/^cert = //p' <<< "$settings")
    if [[ $value ]]; then options+=(--volume "$value:/mnt/certificates.crt:ro"); fi
    # An index in a folder (file:///somewhere/simple) has its files beside it.
    for path in $(sed 's|^[^=]*= ||; s|\\n| |g; s|file://\([^ ]*\)/simple/*|\1|g; s|file://||g' <<< "$settings"); do
        if [[ $path == /* && -d $path ]]; then options+=(--volume "$path:$path:ro"); fi
    done
}

build() {
    local options revision
    build_options
    revision=$(git rev-parse HEAD 2> /dev/null || echo unknown)
    podman build --quiet --isolation oci --network host --pull=never --format docker "${options[@]}" \
        --build-arg "BASE_IMAGE=$BASE" --build-arg "REVISION=$revision" --tag "$IMAGE" .
}

# Run a command in the image: no network, nothing writable but /tmp and the mounted folder, no entry in /etc/passwd.
image() {
    podman run --rm --pull never --network none --read-only --read-only-tmpfs=false --tmpfs /tmp --passwd=false \
        --cap-drop all --security-opt no-new-privileges --user "$USER_ID:$USER_ID" --volume "$scratch/out:/out" \
        "$IMAGE" "$@"
}

# Check that a command in the image fails with this exit status, and says this.
fails_with() {
    local status=$1 message=$2 got=0
    shift 2
    image "$@" &> "$scratch/said" || got=$?
    [[ $got == "$status" ]] || { cat "$scratch/said" >&2; fail "exit status $got instead of $status of: $*"; }
    grep --fixed-strings "$message" "$scratch/said" || { cat "$scratch/said" >&2; fail "no '$message' from: $*"; }
}

has_only_files_of_the_user() {
    local others
    others=$(find "$scratch/out" ! -user "$USER_ID" -o ! -group "$USER_ID")
    [[ -z $others ]] || fail "not owned by the caller: $others"
}

configure_engine  # first, so that nothing but the scratch folder's own containers and images is ever removed
trap clean_up EXIT
say "Tools"
install_tools
say "Base image"
make_base
say "Build"
build
podman image inspect --format 'user {{.Config.User}}, command {{.Config.Cmd}}, {{.Size}} bytes' "$IMAGE"
podman run --rm --pull never --entrypoint /bin/sh "$IMAGE" -c \
    '[ "$(id -u)" != 0 ] && [ -z "$(find /etc/pip.conf /mnt -type f -size +0)" ]' \
    || fail "root, or configuration left behind"

say "A folder that the user may not write to"
install --directory --mode 755 "$scratch/out"
fails_with 1 "cannot write to /out" snakemake
chown "$USER_ID:$USER_ID" "$scratch/out"

say "The full workflow, planned"
image snakemake --dry-run --quiet rules | tail --lines 3

say "The quick workflow"
image snakemake --configfile config/quick.yaml
cat "$scratch/out/rerun/quick/results/tables/main.md"
for figure in cartpole_main frozen-lake_main; do
    [[ $(head --bytes 4 "$scratch/out/rerun/quick/paper_figs/$figure.pdf") == %PDF ]] || fail "$figure.pdf is no figure"
done
has_only_files_of_the_user
image snakemake --configfile config/quick.yaml 2>&1 | grep "Nothing to be done" || fail "a second run did it all again"

say "One figure, from the shipped runs"
image snakemake paper_figs/cartpole_main.pdf
[[ $(head --bytes 4 "$scratch/out/paper_figs/cartpole_main.pdf") == %PDF ]] || fail "cartpole_main.pdf is no figure"
has_only_files_of_the_user

say "Broken runs"
fails_with 2 "nowhere" python -m algos.dqn --env nowhere --arm online --output nowhere.csv
fails_with 1 'Configuration at $.iterations' snakemake --config iterations=many
run=results/runs/paper/cartpole/mix_smollm2-135m-verbal_tau10.csv
rm "$scratch/out/rerun/quick/$run"
truncate --size 1000 "$scratch"/out/rerun/quick/results/datasets/cartpole/smollm2-135m-verbal/data/*.hdf5
fails_with 1 "main_data.hdf5" snakemake --configfile config/quick.yaml --rerun-triggers input -- "rerun/quick/$run"
[[ ! -e $scratch/out/rerun/quick/$run ]] || fail "a broken run left a result"

say "The image does what it says"
