#!/bin/sh
# Makes tests/before/made.tar.xz by running the commit that is checked out: a sandbox with everything it knows, a store and
# a signed archive, left in the middle of things. Run at the root of a checkout with its environment:
#   sh tests/before/make.sh OUTPUT.tar.xz
set -eu
out=$(realpath -m "$1")
root=$PWD
runbook=$root/.venv/bin/runbook
work=$(mktemp -d)
trap '"$runbook" sandbox stop --state "$work/made/sandbox"; rm -rf "$work"' EXIT
mkdir "$work/made" "$work/home"
cd "$work/made"
"$runbook" sandbox start --state sandbox >"$work/started"
set -a; . sandbox/sandbox.env; set +a
HOME=$work/home
DIGICERT_ONE_STORE=$work/made/store
DIGICERT_ONE_ARCHIVE_PASSPHRASE=of0the0fixture0only0and0nothing0else
export HOME DIGICERT_ONE_STORE DIGICERT_ONE_ARCHIVE_PASSPHRASE
admin() { curl -sS -f -o /dev/null -X "$1" -H "Authorization: Bearer $DIGICERT_ONE_ADMIN_TOKEN" --json "$3" "$DIGICERT_ONE_ADMIN_URL$2"; }
run() { # run NOTEBOOK NAME MORE...
  notebook=$1 name=$2
  shift 2
  "$runbook" run "$notebook" -p name "$name" -p confirm "$name" -p key_kind p-256 "$@" || echo "exit code $?"
}
"$runbook" archive init --archive archive --passphrase env:DIGICERT_ONE_ARCHIVE_PASSPHRASE
set -- --archive archive
run issue Whole "$@"
run verify Whole "$@"
run issue Rotating "$@"
run inventory Whole "$@"

# a rotation in its overlap: 50 days before the end
now=$(date -u -d "$(openssl x509 -in "$(find store -path '*Rotating/0001/cert.pem')" -noout -enddate | cut -d= -f2) - 50 days" +%Y-%m-%dT%H:%M:%SZ)
admin PUT /clock "{\"now\": \"$now\"}"
run rotate Rotating -p clock "$now" "$@"
# an issuance whose answer is lost, and whose list nobody can get
rules='{"fault": "drop_after", "method": "POST", "path": "*/client-auth-certificate", "nth": 1}'
for number in $(seq 2 40); do
  rules="$rules, {\"fault\": \"html_page\", \"method\": \"GET\", \"path\": \"*/client-auth-certificate\", \"nth\": $number}"
done
admin PUT /faults "{\"seed\": 1, \"rules\": [$rules]}"
run issue Lost -p clock "$now" "$@"
curl -sS -f -o /dev/null -X DELETE -H "Authorization: Bearer $DIGICERT_ONE_ADMIN_TOKEN" "$DIGICERT_ONE_ADMIN_URL/faults"
run inventory Whole -p clock "$now" "$@"
cat >"$work/fleet.yaml" <<EOF
notebook: inventory
parameters: {environment: sandbox, clock: "$now"}
accounts:
  - {account: first, api_key: "env:DIGICERT_ONE_API_KEY"}
  - {account: second, api_key: "env:DIGICERT_ONE_API_KEY", due_days: 60}
EOF
"$runbook" batch "$work/fleet.yaml" "$@"
echo "$now" >clock
git -C "$root" rev-parse HEAD >commit
"$runbook" sandbox stop --state sandbox
tar -C "$work" -cJf "$out" --sort=name --owner=0 --group=0 made
