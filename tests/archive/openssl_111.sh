#!/bin/sh
# Gets the openssl 1.1.1 of Debian 11 into a folder, beside the one that is installed, and prints its path:
#   sh tests/archive/openssl_111.sh FOLDER
set -eu
mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
cd "$1"
main=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | sed 1q)
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bullseye main\n' "$main" >sources.list
set -- -q -o "Dir::Etc::sourcelist=$PWD/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$PWD/lists" -o "Dir::Cache=$PWD/cache"
apt-get "$@" update >&2
apt-get "$@" download 'openssl=1.1.1*' libssl1.1 >&2
for package in *.deb; do dpkg-deb -x "$package" root; done
libraries=$(dirname "$(find "$PWD/root" -name libssl.so.1.1)")
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$PWD/root/usr/bin/openssl" >openssl
chmod +x openssl
echo "$PWD/openssl"
