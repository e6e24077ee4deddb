#!/bin/sh
# Gets what the tests run besides Python: a browser, openssl, curl, jq, strace, a JDK, Mono, systemd, faketime, shells,
# Prometheus with node-exporter and Alertmanager, a CalDAV server and client. On Debian by apt when root (or with sudo);
# elsewhere it says what is missing. In CI a missing tool is a failure: the tests that need it would not run.
set -eu

need() { # need COMMAND PACKAGE...
    command=$1
    shift
    command -v "$command" >/dev/null 2>&1 || missing="$missing $*" absent="$absent $command"
}

missing="" absent=""
need chromium chromium
need openssl openssl
need curl curl
need jq jq
need strace strace
need java default-jdk-headless
need keytool default-jdk-headless
need mcs mono-mcs mono-runtime libmono-system-net-http4.0-cil
need mono mono-runtime
need setpriv util-linux
need systemd-analyze systemd
need promtool prometheus
need prometheus-node-exporter prometheus-node-exporter
need prometheus-alertmanager prometheus-alertmanager
need radicale radicale
/usr/bin/python3 -c 'import caldav' 2>/dev/null || missing="$missing python3-caldav" absent="$absent caldav"
need faketime faketime
need busybox busybox
need zsh zsh
need ksh ksh
[ -e /usr/share/java/jackson-databind.jar ] || missing="$missing libjackson2-databind-java" absent="$absent jackson"

if [ -n "$missing" ] && command -v apt-get >/dev/null 2>&1; then
    root=""
    [ "$(id -u)" = 0 ] || root="sudo -n"
    echo "Installing with apt:$missing"
    if $root apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive $root apt-get install -q -y --no-install-recommends $missing >/dev/null; then
        exit 0
    fi
fi

if [ -n "$missing" ]; then
    echo "Not on this machine:$absent. The tests that need them will be skipped; on Debian: apt-get install$missing" >&2
    [ "${CI:-}" != true ] || exit 1
fi
