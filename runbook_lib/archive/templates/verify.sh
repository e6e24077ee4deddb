#!/bin/sh
# Verifies the archive in this folder:   sh verify.sh [--head DIGEST] [--excerpt]
#
# Needs a POSIX shell, sha256sum (or shasum), openssl, find, sort, sed, awk, fold and wc; nothing of the software that made the
# archive.
# Exit code 0: everything holds. 1: there are findings, a line each. 2: it could not run.
# VERIFY.md says what this proves and what it does not. This file cannot verify itself: take it from a place you trust.
# It restarts itself with an almost empty environment, so that no setting of a shell, openssl, awk or sort, and no exported
# function, changes the verdict. Its first argument, not a variable that anyone can set, says that this was done. With
# POSIXLY_CORRECT, bash also uses its own `exec`. PATH keeps its absolute folders.
POSIXLY_CORRECT=1
case ${1-} in
--clean)
    shift
    [ -d "${TMPDIR:-}" ] && [ -w "$TMPDIR" ] || unset TMPDIR ;;
*)
    set -f
    IFS=: found=
    for folder in ${PATH-}; do
        case $folder in /*) found=${found:+$found:}$folder ;; esac
    done
    PATH=${found:-/usr/local/bin:/usr/bin:/bin}
    case :$PATH: in *::* | *:[!/]*) PATH=/usr/local/bin:/usr/bin:/bin ;; esac # zsh does not split it
    case $0 in
    *.sh) exec /usr/bin/env -i PATH="$PATH" TMPDIR="${TMPDIR:-}" sh "$0" --clean "$@" ;;
    esac # else it runs from standard input and cannot restart
    set +f
    unset TMPDIR ;;
esac
case ${ZSH_VERSION-} in ?*) emulate sh ;; esac # from standard input, where it did not restart as sh
set -u
LC_ALL=C OPENSSL_CONF=/dev/null
export LC_ALL OPENSSL_CONF
unset POSIXLY_CORRECT CDPATH OPENSSL_MODULES OPENSSL_ENGINES 2>/dev/null
# openssl trusts only what it is given: without these it would add this machine's trusted CAs to -CAfile
SSL_CERT_DIR=/dev/null SSL_CERT_FILE=/dev/null
export SSL_CERT_DIR SSL_CERT_FILE
IFS=' 	
'
case $0 in */*.sh) cd "${0%/*}" || exit 2 ;; esac

# "yes" in an excerpt (`runbook archive export`): only there may bags be left out, and only those that the last bag lists.
excerpt=no
head=
while [ "$#" -gt 0 ]; do
    case $1 in
    --excerpt) excerpt=yes ;;
    --head)
        [ "$#" -gt 1 ] && head=$2
        case $head in *[!0-9a-f]*) head= ;; esac
        [ "${#head}" -eq 64 ] || { echo "--head must be a SHA-256 digest: 64 characters, 0-9 and a-f." >&2; exit 2; }
        shift ;;
    *) echo "usage: sh verify.sh [--head DIGEST] [--excerpt]" >&2; exit 2 ;;
    esac
    shift
done
sha256=sha256sum
command -v sha256sum >/dev/null || sha256='shasum -a 256' # macOS
for tool in "${sha256%% *}" openssl find sort sed awk printf; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: nothing was verified." >&2; exit 2; }
done
# LibreSSL cannot verify as of another time: it has no -no_check_time, and its cms prints help for -attime and exits with 0
case $(openssl version 2>/dev/null) in LibreSSL*) libressl=yes ;; *) libressl=no ;; esac

# Only regular files are read, because a FIFO would block and a device has no end. So find checks type and size first, without
# opening anything; it counts blocks of 512 bytes, rounded up.
fits() { # a small file, or a link to a small file
    [ -n "$(find -H "$1" -prune -type f -size -513 2>/dev/null)" ]
}
pointer() {
    [ -z "$(find .head -prune -type f -size -9 2>/dev/null)" ] || sed '' .head
}
deep='*/*/*/*/*/*/*/*/*/*/*/*/*' # nested too deeply

count() { # number noun: "1 bag", "2 bags"
    [ "$1" = 1 ] && echo "$1 $2" || echo "$1 $2s"
}

# --- the top folder ---------------------------------------------------------------------------------------------------
# Names that begin with a dot belong to the writers: lock, pointer, staging.
years=
top=
for entry in *; do
    case $entry in
    [0-9][0-9][0-9][0-9])
        if [ -d "$entry" ] && [ ! -h "$entry" ]; then years="$years $entry"; else top="$top
$entry: not part of an archive"; fi ;;
    certs | index.html | run.schema.json | VERIFY.md | verify.sh) ;;
    *[!A-Za-z0-9._-]*) top="$top
a name at the top has characters that are not allowed" ;;
    *) [ -e "$entry" ] || [ -h "$entry" ] && top="$top
$entry: not part of an archive" ;;
    esac
done
if [ -z "$years" ]; then
    echo "NOT OK: no bag found: nothing was verified."
    exit 1
fi
# Everything below works on lines and words, so a name with spaces or line ends is refused before it can be misread.
odd() { find $years -path "$deep" -type d -prune -o -name '*[!A-Za-z0-9._-]*' -print; }
if [ -n "$(odd | sed 1q)" ]; then
    echo "NOT OK: there are names with characters that are not allowed. Nothing else was checked:"
    odd | sed 1000q | sed 's/[^A-Za-z0-9._/-]/?/g; s/^/  /'
    exit 1
fi

# --- every file against its manifest ----------------------------------------------------------------------------------
# Lines "path a digest" (the actual file), "path e digest" (the expected file, from the manifest), "path p" (a folder that a
# listed file needs), "path d" (a folder), "path o" (something else), "path s digest" (a time stamp that a later bag names),
# "path g" (a time stamp of an absent bag), sorted, so that one pass in constant memory compares them. Lines that begin with
# "=" are about a bag and pass through.
common='
function place(path,   part, n) {      # the bag that a path is in, or ""
    n = split(path, part, "/")
    if (n < 4 || part[1] !~ /^[0-9][0-9][0-9][0-9]$/ || part[2] !~ /^[0-9][0-9]$/ || part[3] !~ /^[0-9][0-9]$/) return ""
    sub(/\.(p7s|tsr)$/, "", part[4])
    if (part[4] !~ /^[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]Z-[a-z0-9-]+$/) return ""
    return part[1] "/" part[2] "/" part[3] "/" part[4]
}
function is_seal(path) { return path ~ /\.(p7s|tsr)$/ }
function hex(text) { return length(text) == 64 && text !~ /[^0-9a-f]/ }
'
read_tags='
function malformed_line() { if (!marked_bad++) print FILENAME, "b" }
function bad_link() { if (bag != "" && of == "") print "=", bag, "x"; bag = "" }
function field(line, name, text,   begin, end) {
    begin = "  \"" name "\": " (text ? "\"" : ""); end = (text ? "\"" : "") (line < 10 ? "," : "")
    if (substr($0, 1, length(begin)) != begin || substr($0, length($0) - length(end) + 1) != end) { bad_link(); return "" }
    value = substr($0, length(begin) + 1, length($0) - length(begin) - length(end))
    return value
}
function digest_or_none(text) { if (!hex(text) && text != "none") bad_link(); return text }
function number(text) { if (text !~ /^(0|[1-9][0-9]*)$/) bad_link(); return text }
function flush() {
    if (kind == "link" && bag != "") { if (lines != 11) bad_link(); else if (of != "") print_kept("v"); else print "=", bag, "l", sequence, itself, previous, before, signer, turn }
    if (kind == "kept") print "=", bag, "u", of, (chains == 1 && !malformed ? link_digest : "-"), (purges == 1 ? purge_digest : "-")
}
function print_kept(key,   words) {
    words = status; gsub(/ /, "_", words)
    print "=", bag, key, of, sequence, itself, previous, before, signer, turn, expected, produced, words
}
FNR == 1 { flush(); marked_bad = 0; bag = place(FILENAME); name = substr(FILENAME, length(bag) + 2); lines = 0
    kind = of = ""
    if (bag == "" || FILENAME != bag "/" name) next
    if (name ~ /^data\/absent\/[1-9][0-9]*\/[^\/]*$/) {
        n = split(name, part, "/"); of = part[3]; chains = purges = malformed = 0
        if (part[4] == "chain.json") kind = "link"
        if (part[4] == "tagmanifest-sha256.txt") kind = "kept"
        if (part[4] == "purged.txt") kind = "handed"
    }
    if (name == "bag-info.txt") kind = "info"
    if (name == "manifest-sha256.txt") kind = "data"
    if (name == "tagmanifest-sha256.txt") kind = "tags"
    if (name == "beside-sha256.txt") kind = "beside"
    if (name == "chain.json") kind = "link"
    if (name == "purged.txt") kind = "purged"
    if (name == "elsewhere.txt" && excerpt == "yes") { kind = "elsewhere"; print "=", bag, "z" }
}
kind == "" { next }
kind == "info" { if ($0 == "Archive-Format: 2") print "=", bag, "2"; next }
kind == "kept" {
    digest = substr($0, 1, 64); name = substr($0, 67)
    if (!hex(digest) || substr($0, 65, 2) != "  " || name !~ /^[A-Za-z0-9._-]+$/) malformed = 1
    if (name == "chain.json") { chains++; link_digest = digest }
    if (name == "purged.txt") { purges++; purge_digest = digest }
    next
}
kind == "handed" { gsub(/ /, "_"); if (FNR > 1) print "=", bag, "i", of, $0; next }
kind == "data" || kind == "tags" || kind == "beside" {
    digest = substr($0, 1, 64); name = substr($0, 67)
    bad = !hex(digest) || substr($0, 65, 2) != "  "
}
kind == "beside" {
    if (bad) malformed_line()
    else if (name == "certs/tsa-roots.pem") print "=", bag, "r", digest
    else if (place(name) != "" && name == place(name) ".tsr") { print name, "s", digest; print "=", place(name), "c", bag }
    else malformed_line()
    next
}
kind == "data" || kind == "tags" {
    if (name !~ /^[A-Za-z0-9._\/-]+$/) bad = 1
    if (kind == "data" && name !~ /^data\/./) bad = 1
    if (kind == "tags" && name ~ /\//) bad = 1
    if (("/" name "/") ~ /\/\.\.?\//  || name ~ /\/\// || name ~ /\/$/) bad = 1
    n = split(name, part, "/"); path = bag
    if (n > 12 || length(name) > 1024) bad = 1
    if (bad) { malformed_line(); next }
    print bag "/" name, "e", digest
    for (i = 1; i < n; i++) { path = path "/" part[i]; print path, "p" }
    next
}
# absent bags, a line each: purged.txt in a tombstone, elsewhere.txt in the last bag of an excerpt
kind != "link" && FNR == 1 {
    if ($0 != "sequence bag digest signature previous previous_signature signer next_signer expected produced status") print FILENAME, "b"
    next
}
kind != "link" {
    bad = NF < 11 || $1 !~ /^[1-9][0-9]*$/ || place($2) != $2 || is_seal($2) || !hex($3)
    for (i = 4; i <= 8; i++) if (!hex($i) && $i != "none") bad = 1
    if ($9 !~ /^(0|[1-9][0-9]*)$/ || $10 !~ /^(0|[1-9][0-9]*)$/) bad = 1
    for (i = 11; i <= NF; i++) if ($i !~ /^[a-z]+$/) bad = 1
    if (bad) { malformed_line(); next }
    print "=", $2, "g", $1, $3, $4, $5, $6, $7, $8, kind
    status = $11; for (i = 12; i <= NF; i++) status = status "_" $i
    print "=", bag, "w", $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, status, kind
    print $2 ".tsr", "g"
    next
}
# chain.json has one key a line, in one order; anything else is refused
bag != "" { lines++ }
bag == "" { next }
FNR == 1 { if ($0 != "{") bad_link() }
FNR == 2 { itself = field(2, "bag", 1); if (place(itself) != itself || is_seal(itself)) bad_link() }
FNR == 3 { sequence = number(field(3, "sequence", 0)); if (sequence == "0") bad_link() }
FNR == 4 { previous = digest_or_none(field(4, "previous", 1)) }
FNR == 5 { before = digest_or_none(field(5, "previous_signature", 1)) }
FNR == 6 { status = field(6, "status", 1); if (status !~ /^[a-z][a-z ]*$/) bad_link() }
FNR == 7 { expected = number(field(7, "expected", 0)) }
FNR == 8 { produced = number(field(8, "produced", 0)) }
FNR == 9 { signer = digest_or_none(field(9, "signer", 1)) }
FNR == 10 { turn = digest_or_none(field(10, "next_signer", 1)) }
FNR == 11 { if ($0 != "}") bad_link() }
FNR > 11 { bad_link() }
END { flush() }'
compare='
function report(text) { print "0 FINDING " text }
function done() {
    if (path == "") return
    bag = place(path)
    if (b) report(path ": malformed " (path ~ /manifest-sha256\.txt$/ ? "manifest" : path ~ /beside-sha256\.txt$/ ? "list" : "tombstone") " line")
    if (o) { report(path ": neither a file nor a folder"); return }
    if (h) { report(path (d ? ": nested too deeply: not read" : ": larger than 262144 bytes: not read")); if (d) return; a = 0 }
    if (bag == "") { if (a || (d && path !~ /^[0-9][0-9][0-9][0-9](\/[0-9][0-9](\/[0-9][0-9])?)?$/)) report(path ": not part of an archive"); return }
    if (d) {
        if (path == bag) print bag, "d"
        if (path == bag || path == bag "/data") return
        if (is_seal(path)) report(path ": not part of an archive")
        else if (!p) report(path ": empty folder added")
        return
    }
    if (path == bag) { if (a) report(path ": not part of an archive"); return }
    if (path == bag ".p7s") { if (a) print bag, "s", is; return }
    if (path == bag ".tsr") {
        if (a) print bag, "k"
        else if (s && !g) report(path ": missing")
        if (a && other) report(path ": not the time stamp that a later bag names")
        return
    }
    if (a) files++
    if (a && substr(path, length(bag) + 1) ~ /^\/((purged|elsewhere)\.txt|data\/(signer|authority|hold|release|purge|export|expectation|restamp)\.json)$/) print bag, "n"
    if (a && path == bag "/data/restamp.json") print bag, "j"
    if (a && path == bag "/data/restamp.tsr") print bag, "q"
    if (a && path == bag "/tagmanifest-sha256.txt") print bag, "t", is
    if (a && path == bag "/manifest-sha256.txt") print bag, "m"
    if (a && substr(path, length(bag) + 1) ~ /^\/data\/absent\/[1-9][0-9]*\/[^\/]*$/) {
        split(substr(path, length(bag) + 2), part, "/")
        print bag, "f", part[3], part[4], is
    }
    if (path == bag "/tagmanifest-sha256.txt" && !e) return
    if (e > 1) report(path ": listed twice")
    if (e && !a) report(path ": missing")
    else if (a && !e) report(path ": added")
    else if (a && is != should) report(path ": changed" (is == "x" ? ": larger than its bag says: not read" : ""))
}
$1 == "=" { print substr($0, 3); next }
$1 != path { done(); path = $1; a = e = b = d = o = p = s = g = h = other = 0 }
$2 == "a" { a++; is = $3 }
$2 == "s" { s++; if ($3 != is || !a) other = 1 }
$2 == "g" { g = 1 }
$2 == "e" { e++; should = $3 }
$2 == "b" { b = 1 }
$2 == "d" { d = 1 }
$2 == "o" { o = 1 }
$2 == "h" { h = 1 }
$2 == "p" { p = 1 }
END { done(); print "0 FILES " files + 0 }'

# --- the chain --------------------------------------------------------------------------------------------------------
# One line a bag: sequence, bag, digest of its tag manifest, digest of its signature, its link, whether it is here, whether it
# has a time stamp, the digest of the roots that it names for time stamps, whether it is an archive entry, three counts, the
# bags that name its time stamp, and whether it holds one over the bag before it. If the archive has a signer, an entry must be
# signed, because the signature of the next run would cover a forged one.
per_bag='
function report(text) { print 0, "FINDING " text }
function done() {
    if (bag == "") return
    if (gone) {
        if (d) report(bag ": purged or left out, but present (the next run completes an interrupted purge)")
        if (gone > 1) report(bag ": purged or left out twice")
        print line
    }
    if (!d) {
        if (s != "none") report(bag ".p7s: signature without a bag")
        if (stamp) report(bag ".tsr: time stamp without a bag")
        return
    }
    if (t == "") report(bag ": has no tagmanifest-sha256.txt")
    if (!m) report(bag ": has no manifest-sha256.txt")
    if (x) report(bag "/chain.json: malformed")
    else if (link == "") report(bag ": not chained: it has no chain.json")
    if (x || link == "") return
    split(link, l, " ")
    if (l[2] != bag) report(bag ": chain.json names " l[2] ": renamed, moved or copied")
    lists(l[1])
    if (j && !q) report(bag "/data/restamp.tsr: missing")
    print l[1], bag, (t == "" ? "-" : t), s, l[3], l[4], l[5], l[6], (z ? "last" : "here"), stamp, roots, own, marked, bare, words, (namers == "" ? "-" : namers), (j && q)
}
# The lines of a tombstone or an excerpt against the binding data of each absent bag: the tag manifest must have the digest
# that the chain names and list the digest of chain.json, and chain.json must match the line.
function lists(itself,   i, w, n, base, link) {
    for (i = 1; i <= count_w; i++) {
        split(say[i], w, " "); n = w[1]; link = ""
        if (w[12] == "purged" && bag !~ /Z-purge(-[0-9]+)?$/) report(bag "/purged.txt: only a bag of the job purge may hold this list")
        if (w[12] == "elsewhere" && bag !~ /Z-export(-[0-9]+)?$/) report(bag "/elsewhere.txt: only a bag of the job export may hold this list")
        if (w[12] == "purged" && w[2] ~ /Z-(signer|authority|hold|release|purge|expectation|restamp)(-[0-9]+)?$/) report(bag "/purged.txt: names " w[2] ", an archive entry that is never purged")
        if (n + 0 >= itself + 0) report(bag "/" w[12] ".txt: names number " n ", which does not come before it")
        base = bag "/data/absent/" n
        if (!((bag, n, "chain.json") in kept) && !((bag, n, "tagmanifest-sha256.txt") in kept)) {
            words++
            if (!inherited(w)) bare++
            continue
        }
        link = w[1] " " w[2] " " w[5] " " w[6] " " w[7] " " w[8] " " w[9] " " w[10] " " w[11]
        if (kept[bag, n, "tagmanifest-sha256.txt"] != w[3] || kept[bag, n, "chain.json"] == "" || kept[bag, n, "chain.json"] != listed[bag, n] ||
            said[bag, n] != link || (w[4] != "none" && kept[bag, n, "bag.p7s"] != w[4])) {
            report(base ": does not match " w[12] ".txt")
            continue
        }
        if (w[7] != "none" && w[4] != "none") print 0, "GONE", base, w[7]
    }
}
function inherited(w,   line, i, m) {    # whether a tombstone that an excerpt leaves out has the same line
    line = w[1]; for (i = 2; i <= 11; i++) line = line "_" w[i]
    if (!(line in handed)) return 0
    m = handed[line]
    return kept[bag, m, "purged.txt"] == purge_listed[bag, m] && kept[bag, m, "tagmanifest-sha256.txt"] == digest_of[m]
}
$1 == "0" { print; next }
$1 != bag { done(); bag = $1; t = link = ""; s = roots = "none"; d = x = m = z = own = stamp = gone = marked = bare = words = count_w = j = q = 0; namers = ""
    split("", say); split("", kept); split("", listed); split("", purge_listed); split("", said); split("", handed); split("", digest_of) }
$2 == "d" { d = 1; count++ }
$2 == "t" { t = $3 }
$2 == "m" { m = 1 }
$2 == "s" { s = $3 }
$2 == "k" { stamp = 1 }
$2 == "r" { roots = $3; own = 1 }
$2 == "n" { own = 1 }
$2 == "j" { j = 1 }
$2 == "q" { q = 1 }
$2 == "c" { namers = namers "," $3 }
$2 == "2" { marked = 1 }
$2 == "w" { rest = $0; sub(/^[^ ]* w /, "", rest); say[++count_w] = rest; digest_of[$3] = $5 }
$2 == "f" { kept[bag, $3, $4] = $5 }
$2 == "u" { listed[bag, $3] = $4; purge_listed[bag, $3] = $5 }
$2 == "v" { said[bag, $3] = $4 " " $5 " " $6 " " $7 " " $8 " " $9 " " $10 " " $11 " " $12 }
$2 == "i" { handed[$4] = $3 }
$2 == "x" { x = 1 }
$2 == "z" { z = 1 }
$2 == "l" { link = $3 " " $4 " " $5 " " $6 " " $7 " " $8 }
$2 == "g" { gone++; count_of[$10]++; line = $3 " " bag " " $4 " " $5 " " $6 " " $7 " " $8 " " $9 " gone 0 none 0 0 0 0 - 0" }
END { done(); print 0, "BAGS", count + 0; print 0, "PURGED", count_of["purged"] + 0; print 0, "ELSEWHERE", count_of["elsewhere"] + 0 }'
order='
function report(text) { if (++findings <= 1000) print "FINDING " text }
$1 == 0 { if ($2 == "FINDING" && ++findings > 1000) next; sub(/^0 /, ""); print; next }
{
    if ($1 "" == number "") report($2 ": number " number " is in the chain twice")
    else if ($1 "" != (number + 1) "") report($2 ": one or more bags are missing before it, from number " number + 1 " on")
    if ($5 != digest) report($2 ": does not link to the bag before it")
    if ($6 != signature) report($2 ": does not link to the signature of the bag before it")
    if ($7 != "none" && turn != "none" && $7 != turn) report($2 ": its signer is not the one that the bag before it names")
    if (($7 == "none" && $8 != turn) || ($7 != "none" && $8 == "none")) report($2 ": names a next signer that is not allowed")
    if ($12 && $7 == "none" && turn != "none") report($2 ": unsigned archive entry")
    if ($7 != "none" && $4 == "none") report($2 ": its signature is missing")
    if ($7 == "none" && $4 != "none") report($2 ": has a signature, but names no signer")
    if ($9 != "gone" && $17) { check[++checks] = "RENEWAL " $1 " " $2 " " $5 " 1"; namers[checks] = "," $2 }
    # openssl would block on a tag manifest that is a FIFO; an unreadable one is a finding already
    if ($9 != "gone" && $3 != "-" && $3 != "x" && (($7 != "none" && $4 != "none") || $10)) {
        check[++checks] = "CHECK " $1 " " $2 " " ($4 == "none" ? "none" : $7) " " $10
        namers[checks] = $16
    }
    number_of[$2] = $1
    if ($9 == "last") { lasts++; ending = $2 }
    if ($13) marked = 1
    if ($14 && marked) report($2 ": no binding data for " $14 " of its bags, and not of the first format")
    rests += $15
    if ($10 || $17) stamps++
    if ($11 != "none") roots = $11
    if ($7 != "none" && first == "") first = $7
    if ($3 == head) seen = 1
    number = $1; bag = $2; digest = $3; signature = $4; signer = $7; turn = $8; links++
}
BEGIN { pointer = ENVIRON["POINTER"]; number = 0; digest = signature = turn = "none" }
END {
    if (!links) report("no chained bag found: nothing was verified")
    if (links && turn != "none" && signer == "none") report(bag ": not signed, and no signed bag follows")
    if (stamps && roots == "") report("there are time stamps, but no bag names an authority")
    if (excerpt == "yes" && (lasts != 1 || ending != bag)) report("not an excerpt: its last bag has no elsewhere.txt, or another bag has one")
    if (head != "" && !seen) report("the head " head " is not in this archive: its end was cut off, or it was rewritten since")
    last = number " " digest " " signature " " turn " " bag
    n = split(pointer, lines, "\n")
    for (i = 1; i <= n; i++) {
        m = split(lines[i], word, " ")
        if ((word[1] == "head" && m == 6) || (word[1] == "next" && m == 7)) {
            pointed = 1
            if (last == word[2] " " word[3] " " word[4] " " word[5] " " word[6]) agrees = 1
        }
    }
    if (links && pointed && !agrees) report(".head does not name the last bag here as the end of the chain")
    if (findings > 1000) print "FINDING and " findings - 1000 " more"
    for (i = 1; i <= checks; i++) {
        named = "-"; n = split(substr(namers[i], 2), word, ",")
        for (m = 1; m <= n; m++) if (word[m] in number_of && (named == "-" || number_of[word[m]] + 0 < named + 0)) named = number_of[word[m]]
        print check[i], named
    }
    print "HEAD", number, digest, (first == "" ? "none" : first)
    if (roots != "") print "ROOTS", roots
    print "WORD", rests + 0
}'

# When each time stamp was renewed: at the time of the first one that covers the bag that names it, else now. The one over a
# bag covers it and all before it; that in a bag of the job restamp covers the bag before.
renewed='
function cover(number,   low, high, middle) {
    low = 1; high = count + 1
    while (low < high) { middle = int((low + high) / 2); if (covers[middle] < number + 0) low = middle + 1; else high = middle }
    return number == "-" || low > count ? "now" : at[low]
}
$1 != "CHECK" && $1 != "RENEWAL" { print; next }
{
    line[++lines] = $0
    if ($7 == "-") next
    last = $2 - ($1 == "RENEWAL")
    if (!count || covers[count] != last) count++
    covers[count] = last; at[count] = $7
}
END {
    for (i = 1; i <= lines; i++) {
        split(line[i], w, " "); until = cover(w[6])
        if (until != "now" && until + 0 < w[7] + 0) until = w[7]
        print w[1], w[3], w[4], w[5], w[7], w[8], until, (w[5] ? ++rank : 0)
    }
}'

# A file of more than 64 MiB is read only if bag-info.txt says that its bag has that much payload, and the tag manifest lists
# that bag-info.txt.
may_be_read() { # file
    bag=${1%"${1#*/*/*/*/}"}
    bag=${bag%/}
    case $1 in "$bag"/data/*) ;; *) return 1 ;; esac
    [ -z "$(find "$1" -size +8388608)" ] && fits "$bag/bag-info.txt" && fits "$bag/tagmanifest-sha256.txt" || return 1
    octets=$(sed -n 's/^Payload-Oxum: \([0-9]\{1,15\}\)\.[0-9]*$/\1/p' "$bag/bag-info.txt")
    listed=$(sed -n 's/  bag-info\.txt$//p' "$bag/tagmanifest-sha256.txt")
    found=$($sha256 "$bag/bag-info.txt")
    case $octets in '' | *[!0-9]*) return 1 ;; esac
    [ "${found%% *}" = "$listed" ] && [ -z "$(find "$1" -size "+${octets}c")" ]
}
check() {
    {
        {
            find $years -path "$deep" -type d -prune -o -type f -size -131073 -exec $sha256 {} + || echo u
            find $years -path "$deep" -type d -prune -o -type f -size +131072 -print | while read -r file; do
                if may_be_read "$file"; then $sha256 "$file" || echo u; else echo "x $file"; fi
            done
            echo d && { find $years -path "$deep" -type d -prune -print -o -type d -print || echo u; }
            echo o && find $years -path "$deep" -type d -prune -o ! -type f ! -type d -print
            echo h && find $years -path "$deep" -type d -prune -print -o \
                '(' -name '*.p7s' -o -name '*.tsr' ')' -type f -size +512 -print
        } | awk '$0 == "u" { print "= 0 FINDING some files or folders cannot be read"; next }
            NF == 1 && length($1) == 1 { kind = $1; next } { if (kind == "") print $2, "a", $1; else print $1, kind }'
        find $years -path "$deep" -type d -prune -o -type f '(' -size -2049 '(' -name manifest-sha256.txt \
            -o -name tagmanifest-sha256.txt -o -name beside-sha256.txt -o -name purged.txt -o -name elsewhere.txt ')' \
            -o -size -513 '(' -name chain.json -o -name bag-info.txt ')' ')' -exec awk -v excerpt="$excerpt" "$common$read_tags" {} +
        # some awks take minutes for a line of megabytes, so a long list is first searched for such a line
        find $years -path "$deep" -type d -prune -o -type f -size +2048 -size -131073 '(' -name manifest-sha256.txt \
            -o -name tagmanifest-sha256.txt -o -name beside-sha256.txt -o -name purged.txt -o -name elsewhere.txt ')' \
            -print | while IFS= read -r file; do
            if [ "$(fold -b -w 2000 "$file" | wc -l)" -eq "$(wc -l < "$file")" ]; then
                awk -v excerpt="$excerpt" "$common$read_tags" "$file"
            else
                echo "$file b"
            fi
        done
    } | sort | awk "$common$compare" | sort | awk "$common$per_bag" | sort -k 1,1n -k 2 |
        POINTER=$(pointer) awk -v head="$head" -v excerpt="$excerpt" "$order" |
        with_times | awk "$renewed" | check_seals
}

# --- signatures and time stamps ---------------------------------------------------------------------------------------
# The signer must be the certificate that the chain names (-nointern, and no other certificate in the given file), and lead to
# certs/roots.pem, not to a root that this machine trusts (SSL_CERT_DIR). A signature stays valid when its certificate expires
# (-no_check_time). With a time stamp, the certificate must have been valid at that time, and so must the authority's. That must
# also be valid when a later time stamp renews it, or now: else it has lapsed, which is no finding.
roots=no tsa_roots=no
fits certs/roots.pem && roots=yes
fits certs/tsa-roots.pem && tsa_roots=yes
[ "$roots" = yes ] || [ ! -e certs/roots.pem ] || top="$top
certs/roots.pem: not a regular file, or too large"
whose= known=1
knows() { # signer: whether the certificate that the chain names is here
    [ "$1" != "$whose" ] || return "$known"
    whose=$1 known=1
    fits "certs/$1.pem" || return 1
    found=$(openssl x509 -in "certs/$1.pem" -outform DER 2>/dev/null | $sha256)
    [ "${found%% *}" = "$1" ] || return 1
    certificate=$(openssl x509 -in "certs/$1.pem") && known=0
}
# The time of a token, as openssl prints it, "Time stamp: Nov 23 06:17:05 2026 GMT": in seconds since 1970, and in digits.
# Only the last such line counts: the authority does not sign the text before it, so anyone could have written it.
stamped_at() { # token
    seconds= digits=
    text=$(openssl ts -reply -in "$1" -text </dev/null 2>/dev/null)
    text=${text##*"
Time stamp: "}
    text=${text%%" GMT"*}
    case $text in
    [A-Z][a-z][a-z]\ [\ 0-3][0-9]\ [0-2][0-9]:[0-5][0-9]:[0-6][0-9]\ [1-9][0-9][0-9][0-9]) ;;
    [A-Z][a-z][a-z]\ [\ 0-3][0-9]\ [0-2][0-9]:[0-5][0-9]:[0-6][0-9].*\ [1-9][0-9][0-9][0-9]) ;;
    *) return ;;
    esac
    names=JanFebMarAprMayJunJulAugSepOctNovDec
    before=${names%%"${text%% *}"*}
    year=${text##* } month=$((${#before} / 3 + 1)) clock=${text#????} day=${text#????}
    day=${day%"${day#??}"} clock=${clock#???}
    day=${day# } hour=${clock%"${clock#??}"} clock=${clock#???}
    minute=${clock%"${clock#??}"} clock=${clock#???}
    second=${clock%"${clock#??}"}
    day=${day#0}
    [ "$month" -gt 9 ] && digits=$year$month || digits=${year}0$month
    [ "$day" -gt 9 ] && digits=$digits$day || digits=${digits}0$day
    digits=$digits$hour$minute$second
    [ "$month" -gt 2 ] || { year=$((year - 1)) month=$((month + 12)); }
    days=$((365 * year + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day - 719469))
    seconds=$((days * 86400 + ${hour#0} * 3600 + ${minute#0} * 60 + ${second#0}))
}
with_times() {
    while read -r kind rest; do
        seconds= digits=
        case $kind in
        CHECK | RENEWAL)
            set -- $rest
            token=$2.tsr
            [ "$kind" = CHECK ] || token=$2/data/restamp.tsr
            [ "$4" = 0 ] || { [ "$kind" = RENEWAL ] && ! fits "$token"; } || stamped_at "$token"
            rest="$rest ${seconds:--} ${digits:--}" ;;
        esac
        printf '%s\n' "$kind $rest"
    done
}
ts_holds() { # token what-it-is-over time
    openssl ts -verify $2 -in "$1" -CAfile certs/tsa-roots.pem $3 </dev/null >/dev/null 2>&1
}
token_holds() { # token what-it-is-over its-time renewed: sets `state`
    state=broken
    [ "$tsa_roots" = yes ] && [ "$3" != - ] || return 0
    near=no # renewed within two days: checked as of the later moment only
    case $4 in
    now) later= ;;
    *) later="-attime $4"; [ $(($4 - $3)) -gt 172800 ] || near=yes ;;
    esac
    if ts_holds "$1" "$2" "$later"; then
        [ "$near" = no ] || { state=holds; return 0; }
        ! ts_holds "$1" "$2" "-attime $3" || state=holds
    else
        ! ts_holds "$1" "$2" "-attime $3" || state=lapsed
    fi
}
# The certificate comes as a here-document: ksh makes a pipe of sockets, which /dev/stdin cannot open.
cms_holds() { # signature content time: whether the signer that `knows` found last signed the content
    [ "$roots" = yes ] && openssl cms -verify -binary -inform DER -in "$1" -content "$2" -nointern -certfile /dev/stdin \
        -CAfile certs/roots.pem $3 -out /dev/null >/dev/null 2>&1 <<END
$certificate
END
}
check_seals() {
    while read -r kind bag signer stamp own shown renewed rank rest; do
        case $libressl$kind in
        yesGONE | yesCHECK | yesRENEWAL)
            printf '%s\n' "UNKNOWN $bag"
            continue ;;
        esac
        case $kind in
        GONE)
            if ! knows "$signer"; then
                printf '%s\n' "FINDING $bag: certs/$signer.pem is missing or a different certificate"
            elif ! cms_holds "$bag/bag.p7s" "$bag/tagmanifest-sha256.txt" -no_check_time; then
                printf '%s\n' "FINDING $bag: the kept signature does not verify"
            fi
            continue ;;
        CHECK)
            token=$bag.tsr over=$bag.p7s
            [ -e "$over" ] || over=$bag/tagmanifest-sha256.txt
            over="-data $over" word=STAMP ;;
        RENEWAL)
            token=$bag/data/restamp.tsr over="-digest $signer" signer=none word=RENEWED ;;
        *)
            printf '%s\n' "$kind $bag $signer $stamp $own $shown $renewed $rank $rest"
            continue ;;
        esac
        at=
        if [ "$stamp" = 1 ]; then
            token_holds "$token" "$over" "$own" "$renewed"
            case $state in
            broken) printf '%s\n' "FINDING $token: does not verify" ;;
            *)
                at="-attime $own"
                printf '%s\n' "$word $shown"
                [ "$state" = holds ] || printf '%s\n' "LAPSED $rank" ;;
            esac
        fi
        [ "$signer" != none ] || continue
        if ! knows "$signer"; then
            printf '%s\n' "FINDING $bag: certs/$signer.pem is missing or a different certificate"
        elif [ -n "$at" ] && cms_holds "$bag.p7s" "$bag/tagmanifest-sha256.txt" "$at"; then
            printf '%s\n' "SIGNED"
        elif cms_holds "$bag.p7s" "$bag/tagmanifest-sha256.txt" -no_check_time; then
            printf '%s\n' "SIGNED"
            [ -z "$at" ] || printf '%s\n' "LATE"
        else
            printf '%s\n' "FINDING $bag: its signature does not verify"
        fi
    done
    printf '%s\n' "SEALS looked"
}

# --- the verdict ------------------------------------------------------------------------------------------------------
look() {
    result=$(check)
    findings=$top files= bags= end= seals= purged= elsewhere= named_roots= word= unknown=
    while read -r kind rest; do
        case $kind in
        FINDING) findings="$findings
$rest" ;;
        FILES) files=$rest ;;
        BAGS) bags=$rest ;;
        PURGED) purged=$rest ;;
        ELSEWHERE) elsewhere=$rest ;;
        HEAD) end=$rest ;;
        ROOTS) named_roots=$rest ;;
        WORD) word=$rest ;;
        UNKNOWN) unknown=yes ;;
        SEALS) seals=$rest ;;
        esac
    done <<END
$result
END
    for value in files bags end seals purged elsewhere word; do
        eval "[ -n \"\$$value\" ]" || findings="$findings
the check itself did not finish ($value)"
    done
    if [ -n "$named_roots" ]; then
        found=
        [ "$tsa_roots" = no ] || found=$($sha256 certs/tsa-roots.pem)
        [ "${found%% *}" = "$named_roots" ] || findings="$findings
certs/tsa-roots.pem: missing, or not the file that the chain names"
    fi
}
# A run that is sealed during a check may be seen half-written, so the check is repeated.
for try in 1 2 3; do
    before=$(pointer)
    look
    [ -n "$findings" ] && [ "$(pointer)" != "$before" ] || break
done
if [ -n "$findings" ]; then
    echo "NOT OK: this archive is not as it was sealed."
    printf '%s\n' "$findings" | sed -n 's/^\(..*\)$/  \1/p'
    exit 1
fi
if [ -n "$unknown" ]; then
    echo "NOT VERIFIED: there are signatures or time stamps, and LibreSSL cannot verify them as of their time."
    echo "Put OpenSSL 1.1.1 or later first in PATH and run this again. The files and the chain have no findings."
    exit 2
fi
set -- $end
echo "OK: $(count "$bags" bag) with $(count "$files" file): none changed, added or missing; the chain is complete from the first bag to the last."
[ "$excerpt" = no ] || echo "EXCERPT: $(count "$elsewhere" bag) of the archive left out, listed in the last bag."
[ "$purged" -eq 0 ] || echo "Purged: $(count "$purged" bag), as archive entries declare."
[ "$word" -eq 0 ] || echo "CAVEAT: no binding data for $(count "$word" bag) (tombstones of the first format). Only the tombstone's word vouches for what they were and for the chain before them."
summary=$(printf '%s\n' "$result" | sort | awk '
    function count(n, noun) { return n " " noun (n == 1 ? "" : "s") }
    $1 == "SIGNED" { signed++ }
    $1 == "LATE" { late++ }
    $1 == "STAMP" { if (!stamps++) first = $2; last = $2 }
    $1 == "RENEWED" { if (!renewals++) since = $2; until = $2 }
    $1 == "LAPSED" && $2 > lapsed + 0 { lapsed = $2 }
    function day(t) { return substr(t, 1, 4) "-" substr(t, 5, 2) "-" substr(t, 7, 2) "T" substr(t, 9, 2) ":" substr(t, 11, 2) ":" substr(t, 13, 2) "Z" }
    END { print signed + 0
        if (stamps) print "Time-stamped: " count(stamps, "bag") ", " day(first) " to " day(last) ", by the authority of certs/tsa-roots.pem. Compare that too."
        if (renewals) print "Time stamps renewed: " count(renewals, "time") ", " day(since) " to " day(until) "."
        if (lapsed) print "CAVEAT: " count(lapsed, "time stamp") " lapsed: the authority\047s certificate ended before a later time stamp renewed them. They prove their time only if nobody misused the authority\047s old key."
        if (late) print "Signed with a certificate that was not valid at the stamped time: " count(late, "bag") "." }')
if [ "$3" != none ]; then
    echo "Signed: $(count "${summary%%[!0-9]*}" bag). Compare the first signer with the fingerprint that you keep elsewhere; each signer names the next."
    echo "First signer: $3"
else
    echo "NOT SIGNED: anyone who can write here could have rebuilt this archive. Compare the head below with one kept elsewhere."
fi
printf '%s\n' "$summary" | sed 1d
if [ -n "$head" ]; then
    echo "The head that you gave is in the chain."
else
    echo "Without --head, a cut-off end cannot be detected."
fi
echo "Head: $1 $2"
