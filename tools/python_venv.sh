#!/usr/bin/env bash
# Make a virtual environment with a wanted version of Python, such as 3.9, which this machine may not have.
#
# usage: tools/python_venv.sh 3.9 FOLDER
#
# Taken from PATH, pyenv or uv. Where there is none, on Debian and its kin, the packages of the Debian release that has
# this version are unpacked into the user's cache, with their own C library; nothing is installed on the machine.
set -euo pipefail
version=$1 folder=$2

works() { "$1" -c "import ssl, venv, sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; }

found() {
    local candidate
    for candidate in "$(command -v "python$version" || true)" \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python \
        "$(command -v uv >/dev/null && uv python find --no-python-downloads "$version" 2>/dev/null || true)"; do
        if [ -x "$candidate" ] && works "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

from_debian() {
    local release root work mirror
    case $version in
    3.9) release=bullseye ;;
    3.11) release=bookworm ;;
    3.13) release=trixie ;;
    *) echo "python_venv.sh: no Python $version here, and no Debian release is known to have it" >&2 && return 1 ;;
    esac
    root=${XDG_CACHE_HOME:-$HOME/.cache}/emflow-tests/$release
    if ! { [ -x "$root/usr/bin/python$version" ] && works "$root/usr/bin/python$version"; }; then
        command -v apt-get >/dev/null && command -v dpkg >/dev/null || {
            echo "python_venv.sh: no Python $version here, and no apt-get to get it with" >&2
            return 1
        }
        rm -rf "$root"
        mkdir -p "$root"
        work=$(mktemp -d)
        trap 'rm -rf "$work"' RETURN
        chmod 755 "$work" # apt reads it as a user of its own
        mkdir -p "$work"/{state/lists/partial,cache/archives/partial,etc}
        touch "$work/status"
        # As if nothing were installed: apt then gets everything that it needs, down to the C library.
        local apt=(apt-get -qq -o Dir::State="$work/state" -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache"
            -o Dir::Etc::sourcelist="$work/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o Dir::Etc::preferencesparts=/dev/null -o APT::Install-Recommends=false -o APT::Sandbox::User=root
            -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o Debug::NoLocking=true)
        for mirror in http://deb.debian.org/debian http://archive.debian.org/debian; do
            echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$work/etc/sources.list"
            "${apt[@]}" update >&2 && break
        done
        "${apt[@]}" install -y --download-only "python$version" "python$version-venv" >&2
        for package in "$work"/cache/archives/*.deb; do
            dpkg -x "$package" "$root"
        done
        # A script in its place finds the libraries, also from a virtual environment, whose python leads here. Its own C
        # library needs its own loader; one from before 2.33, which takes no --argv0, is older than this machine's.
        local real=$root/usr/bin/python$version.real loader libraries run
        mv "$root/usr/bin/python$version" "$real"
        loader=$(find "$root" -name 'ld-linux-*.so.*' -print -quit)
        libraries=$(find "$root" -path '*lib/*-linux-gnu' -type d -print | paste -sd:)
        run="exec '$loader' --argv0 \"\$0\" --library-path '$libraries' '$real'"
        if ! "$loader" --help 2>/dev/null | grep -q -e --argv0; then
            dpkg-deb --fsys-tarfile "$work"/cache/archives/libc6_*.deb | tar -t |
                grep '\.so[.0-9]*$' | (cd "$root" && xargs rm -f)
            run="LD_LIBRARY_PATH='$libraries' exec -a \"\$0\" '$real'"
        fi
        printf '#!/usr/bin/env bash\n%s "$@"\n' "$run" >"$root/usr/bin/python$version"
        chmod +x "$root/usr/bin/python$version"
    fi
    echo "$root/usr/bin/python$version"
}

python=${EMFLOW_TEST_DEBIAN_PYTHON:+$(from_debian)}
python=${python:-$(found || from_debian)}
# Debian's ensurepip looks for its wheels below /usr/share of the machine, where these are not.
if ! "$python" -m venv "$folder" >/dev/null 2>&1; then
    rm -rf "$folder"
    "$python" -m venv --without-pip "$folder"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$folder/wheels" 'pip<25'
    "$folder/bin/python" "$(echo "$folder"/wheels/pip-*.whl)/pip" install --quiet --no-index "$folder"/wheels/pip-*.whl
fi
