#!/bin/sh
# Verifies the archive that this file lies in:   sh verify.sh [--head DIGEST] [--excerpt]
#
# Needs a POSIX shell, sha256sum, openssl, find, sort, sed, awk, fold and wc; nothing of the software that made the archive.
# Exit code 0 if everything holds, 1 and a line for each thing that does not, 2 if it could not look.
# VERIFY.md says what this proves and what it does not. This file does not verify itself: take it from a place you trust.
# It starts itself again with an environment that is all but empty: what configures a shell, openssl, awk or sort, or takes
# the place of a command (an exported function), changes no verdict. Its first argument tells that this was done, since
# anybody could set a variable. With POSIXLY_CORRECT bash, too, takes `exec` for its own. PATH keeps its absolute folders.
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
    case $0 in
    *.sh) exec /usr/bin/env -i PATH="$PATH" TMPDIR="${TMPDIR:-}" sh "$0" --clean "$@" ;;
    esac # else it comes from standard input, and goes on as it is
    set +f
    unset TMPDIR ;;
esac
set -u
LC_ALL=C OPENSSL_CONF=/dev/null
export LC_ALL OPENSSL_CONF
unset POSIXLY_CORRECT CDPATH OPENSSL_MODULES OPENSSL_ENGINES 2>/dev/null
# openssl trusts what is named to it and nothing else; beside -CAfile it would take what this machine trusts
SSL_CERT_DIR=/dev/null SSL_CERT_FILE=/dev/null
export SSL_CERT_DIR SSL_CERT_FILE
IFS=' 	
'
case $0 in */*) cd "${0%/*}" || exit 2 ;; esac

# "yes" in what `runbook archive export` made: only there may bags be left out, those that the last bag names.
excerpt=no
head=
while [ "$#" -gt 0 ]; do
    case $1 in
    --excerpt) excerpt=yes ;;
    --head)
        [ "$#" -gt 1 ] && head=$2
        case $head in *[!0-9a-f]*) head= ;; esac
        [ "${#head}" -eq 64 ] || { echo "--head is a SHA-256 digest: 64 digits and letters a to f." >&2; exit 2; }
        shift ;;
    *) echo "usage: sh verify.sh [--head DIGEST] [--excerpt]" >&2; exit 2 ;;
    esac
    shift
done
for tool in sha256sum openssl find sort sed awk printf; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: nothing was verified." >&2; exit 2; }
done

# Only ordinary files are read: a FIFO would be waited for, a device has no end. So type and size come first, as find tells
# them without opening anything; 512 bytes a block, rounded up.
fits() { # a small file, or a link to one
    [ -n "$(find -H "$1" -prune -type f -size -513 2>/dev/null)" ]
}
pointer() {
    [ -z "$(find .head -prune -type f -size -9 2>/dev/null)" ] || sed '' .head
}
deep='*/*/*/*/*/*/*/*/*/*/*/*/*' # nested deeper than any bag

# --- what lies at the top ---------------------------------------------------------------------------------------------
# Names that begin with a dot are the writers' own: lock, pointer, staging.
years=
top=
for entry in *; do
    case $entry in
    [0-9][0-9][0-9][0-9])
        if [ -d "$entry" ] && [ ! -h "$entry" ]; then years="$years $entry"; else top="$top
$entry: not part of an archive"; fi ;;
    certs | index.html | run.schema.json | VERIFY.md | verify.sh) ;;
    *[!A-Za-z0-9._-]*) top="$top
a file with odd characters in its name lies at the top" ;;
    *) [ -e "$entry" ] || [ -h "$entry" ] && top="$top
$entry: not part of an archive" ;;
    esac
done
if [ -z "$years" ]; then
    echo "NOT OK: there is no bag here: nothing was verified."
    exit 1
fi
# Everything below works on lines and words, so a name that is neither is refused before it can be misread.
odd() { find $years -path "$deep" -type d -prune -o -name '*[!A-Za-z0-9._-]*' -print; }
if [ -n "$(odd | sed 1q)" ]; then
    echo "NOT OK: there are names with spaces or other odd characters, which no bag holds. Nothing else was looked at:"
    odd | sed 1000q | sed 's/[^A-Za-z0-9._/-]/?/g; s/^/  /'
    exit 1
fi

# --- every file against its manifest ----------------------------------------------------------------------------------
# Lines "path a digest" (as it is), "path e digest" (as the manifest has it), "path p" (a folder that a listed file needs),
# "path d" (a folder), "path o" (something else), "path s digest" (a time stamp, as a later bag names it), "path g" (what lay
# beside a bag that is gone), sorted, so that one pass in constant memory compares them. Lines that begin with "=" are about
# a bag and pass through.
common='
function place(path,   part, n) {      # the bag that a path is in, or ""
    n = split(path, part, "/")
    if (n < 4 || part[1] !~ /^[0-9][0-9][0-9][0-9]$/ || part[2] !~ /^[0-9][0-9]$/ || part[3] !~ /^[0-9][0-9]$/) return ""
    sub(/\.(p7s|tsr)$/, "", part[4])
    if (part[4] !~ /^[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]Z-[a-z0-9-]+$/) return ""
    return part[1] "/" part[2] "/" part[3] "/" part[4]
}
function beside(path) { return path ~ /\.(p7s|tsr)$/ }
function hex(text) { return length(text) == 64 && text !~ /[^0-9a-f]/ }
'
read_tags='
function malformed_line() { if (!told_bad++) print FILENAME, "b" }
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
    if (kind == "link" && bag != "") { if (lines != 11) bad_link(); else if (of != "") told_of("v"); else print "=", bag, "l", sequence, itself, previous, before, signer, turn }
    if (kind == "kept") print "=", bag, "u", of, (chains == 1 && !malformed ? link_digest : "-"), (purges == 1 ? purge_digest : "-")
}
function told_of(key,   words) {
    words = status; gsub(/ /, "_", words)
    print "=", bag, key, of, sequence, itself, previous, before, signer, turn, expected, produced, words
}
FNR == 1 { flush(); told_bad = 0; bag = place(FILENAME); name = substr(FILENAME, length(bag) + 2); lines = 0
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
    else if (place(name) != "" && name == place(name) ".tsr") print name, "s", digest
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
# what stands in for bags that are gone, a line each: purged.txt in a tombstone, elsewhere.txt in the last bag of an excerpt
kind != "link" && FNR == 1 {
    if ($0 != "sequence bag digest signature previous previous_signature signer next_signer expected produced status") print FILENAME, "b"
    next
}
kind != "link" {
    bad = NF < 11 || $1 !~ /^[1-9][0-9]*$/ || place($2) != $2 || beside($2) || !hex($3)
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
# chain.json is written one key a line, in one order; anything else is refused
bag != "" { lines++ }
bag == "" { next }
FNR == 1 { if ($0 != "{") bad_link() }
FNR == 2 { itself = field(2, "bag", 1); if (place(itself) != itself || beside(itself)) bad_link() }
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
function told(text) { print "0 FINDING " text }
function done() {
    if (path == "") return
    bag = place(path)
    if (b) told(path ": a line that is none of a manifest, list or tombstone")
    if (o) { told(path ": neither a file nor a folder"); return }
    if (h) { told(path (d ? ": nested deeper than any bag: not read" : ": larger than 262144 bytes: not read")); if (d) return; a = 0 }
    if (bag == "") { if (a || (d && path !~ /^[0-9][0-9][0-9][0-9](\/[0-9][0-9](\/[0-9][0-9])?)?$/)) told(path ": not part of an archive"); return }
    if (d) {
        if (path == bag) print bag, "d"
        if (path == bag || path == bag "/data") return
        if (beside(path)) told(path ": not part of an archive")
        else if (!p) told(path ": an empty folder was added")
        return
    }
    if (path == bag) { if (a) told(path ": not part of an archive"); return }
    if (path == bag ".p7s") { if (a) print bag, "s", is; return }
    if (path == bag ".tsr") {
        if (a) print bag, "k"
        else if (s && !g) told(path ": missing")
        if (a && other) told(path ": is another than the one that a later bag names")
        return
    }
    if (a) files++
    if (a && substr(path, length(bag) + 1) ~ /^\/((purged|elsewhere)\.txt|data\/(signer|authority|hold|release|purge|export|expectation)\.json)$/) print bag, "n"
    if (a && path == bag "/tagmanifest-sha256.txt") print bag, "t", is
    if (a && path == bag "/manifest-sha256.txt") print bag, "m"
    if (a && substr(path, length(bag) + 1) ~ /^\/data\/absent\/[1-9][0-9]*\/[^\/]*$/) {
        split(substr(path, length(bag) + 2), part, "/")
        print bag, "f", part[3], part[4], is
    }
    if (path == bag "/tagmanifest-sha256.txt" && !e) return
    if (e > 1) told(path ": is listed twice")
    if (e && !a) told(path ": missing")
    else if (a && !e) told(path ": was added")
    else if (a && is != should) told(path ": was changed" (is == "x" ? ": it is larger than its bag says: not read" : ""))
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
# One line a bag: sequence, bag, digest of its tag manifest, digest of its signature, what its link says, whether it is here,
# whether it has a time stamp, the digest of the roots that it names for time stamps, and whether it is one of the archive's
# own entries: where there is a signer these must be signed, since the signature of the next run would cover them.
per_bag='
function told(text) { print 0, "FINDING " text }
function done() {
    if (bag == "") return
    if (gone) {
        if (d) told(bag ": was purged or left out, and is there (the next run ends a purge that was cut off)")
        if (gone > 1) told(bag ": was purged or left out twice")
        print line
    }
    if (!d) {
        if (s != "none") told(bag ".p7s: a signature without its bag")
        if (stamp) told(bag ".tsr: a time stamp without its bag")
        return
    }
    if (t == "") told(bag ": has no tagmanifest-sha256.txt")
    if (!m) told(bag ": has no manifest-sha256.txt")
    if (x) told(bag "/chain.json: not in its form")
    else if (link == "") told(bag ": not chained: it has no chain.json")
    if (x || link == "") return
    split(link, l, " ")
    if (l[2] != bag) told(bag ": says that it is " l[2] ": renamed, moved or copied")
    lists(l[1])
    print l[1], bag, (t == "" ? "-" : t), s, l[3], l[4], l[5], l[6], (z ? "last" : "here"), stamp, roots, own, marked, bare, words
}
# What a tombstone or an excerpt says of bags that are gone, against what it keeps of each: the tag manifest must have the
# digest that the chain names and list that of chain.json, and chain.json must say what the line says.
function lists(itself,   i, w, n, base, link) {
    for (i = 1; i <= count_w; i++) {
        split(say[i], w, " "); n = w[1]; link = ""
        if (w[12] == "purged" && bag !~ /Z-purge(-[0-9]+)?$/) told(bag "/purged.txt: only a bag of the job purge has such a list")
        if (w[12] == "elsewhere" && bag !~ /Z-export(-[0-9]+)?$/) told(bag "/elsewhere.txt: only a bag of the job export has such a list")
        if (w[12] == "purged" && w[2] ~ /Z-(signer|authority|hold|release|purge|expectation)(-[0-9]+)?$/) told(bag "/purged.txt: names " w[2] ", an entry of the archive'"'"'s own: none is ever purged")
        if (n + 0 >= itself + 0) told(bag "/" w[12] ".txt: names number " n ", which does not come before it")
        base = bag "/data/absent/" n
        if (!((bag, n, "chain.json") in kept) && !((bag, n, "tagmanifest-sha256.txt") in kept)) {
            words++
            if (!inherited(w)) bare++
            continue
        }
        link = w[1] " " w[2] " " w[5] " " w[6] " " w[7] " " w[8] " " w[9] " " w[10] " " w[11]
        if (kept[bag, n, "tagmanifest-sha256.txt"] != w[3] || kept[bag, n, "chain.json"] == "" || kept[bag, n, "chain.json"] != listed[bag, n] ||
            said[bag, n] != link || (w[4] != "none" && kept[bag, n, "bag.p7s"] != w[4])) {
            told(base ": does not bind what " w[12] ".txt says")
            continue
        }
        if (w[7] != "none" && w[4] != "none") print 0, "GONE", base, w[7]
    }
}
function inherited(w,   line, i, m) {    # whether a tombstone that an excerpt leaves out says the same
    line = w[1]; for (i = 2; i <= 11; i++) line = line "_" w[i]
    if (!(line in handed)) return 0
    m = handed[line]
    return kept[bag, m, "purged.txt"] == purge_listed[bag, m] && kept[bag, m, "tagmanifest-sha256.txt"] == digest_of[m]
}
$1 == "0" { print; next }
$1 != bag { done(); bag = $1; t = link = ""; s = roots = "none"; d = x = m = z = own = stamp = gone = marked = bare = words = count_w = 0
    split("", say); split("", kept); split("", listed); split("", purge_listed); split("", said); split("", handed); split("", digest_of) }
$2 == "d" { d = 1; count++ }
$2 == "t" { t = $3 }
$2 == "m" { m = 1 }
$2 == "s" { s = $3 }
$2 == "k" { stamp = 1 }
$2 == "r" { roots = $3; own = 1 }
$2 == "n" { own = 1 }
$2 == "2" { marked = 1 }
$2 == "w" { rest = $0; sub(/^[^ ]* w /, "", rest); say[++count_w] = rest; digest_of[$3] = $5 }
$2 == "f" { kept[bag, $3, $4] = $5 }
$2 == "u" { listed[bag, $3] = $4; purge_listed[bag, $3] = $5 }
$2 == "v" { said[bag, $3] = $4 " " $5 " " $6 " " $7 " " $8 " " $9 " " $10 " " $11 " " $12 }
$2 == "i" { handed[$4] = $3 }
$2 == "x" { x = 1 }
$2 == "z" { z = 1 }
$2 == "l" { link = $3 " " $4 " " $5 " " $6 " " $7 " " $8 }
$2 == "g" { gone++; count_of[$10]++; line = $3 " " bag " " $4 " " $5 " " $6 " " $7 " " $8 " " $9 " gone 0 none 0 0 0 0" }
END { done(); print 0, "BAGS", count + 0; print 0, "PURGED", count_of["purged"] + 0; print 0, "ELSEWHERE", count_of["elsewhere"] + 0 }'
order='
function told(text) { if (++findings <= 1000) print "FINDING " text }
$1 == 0 { if ($2 == "FINDING" && ++findings > 1000) next; sub(/^0 /, ""); print; next }
{
    if ($1 "" == number "") told($2 ": number " number " is in the chain twice")
    else if ($1 "" != (number + 1) "") told($2 ": one or more bags are missing before it, from number " number + 1 " on")
    if ($5 != digest) told($2 ": follows another bag than the one before it")
    if ($6 != signature) told($2 ": the signature of the bag before it is another")
    if ($7 != "none" && turn != "none" && $7 != turn) told($2 ": signed by another than the signer whose turn it was")
    if (($7 == "none" && $8 != turn) || ($7 != "none" && $8 == "none")) told($2 ": names a next signer that it cannot name")
    if ($12 && $7 == "none" && turn != "none") told($2 ": an entry of the archive'"'"'s own that nobody signed")
    if ($7 != "none" && $4 == "none") told($2 ": its signature is missing")
    if ($7 == "none" && $4 != "none") told($2 ": has a signature that it does not know of")
    # openssl would wait for a tag manifest that is a FIFO: one that could not be read is a finding already
    if ($9 != "gone" && $3 != "-" && $3 != "x" && (($7 != "none" && $4 != "none") || $10)) print "CHECK", $2, ($4 == "none" ? "none" : $7), $10
    if ($9 == "last") { lasts++; ending = $2 }
    if ($13) marked = 1
    if ($14 && marked) told($2 ": keeps nothing that binds " $14 " of its bags, and is not of the first format")
    rests += $15
    if ($10) stamps++
    if ($11 != "none") roots = $11
    if ($7 != "none" && first == "") first = $7
    if ($3 == head) seen = 1
    number = $1; bag = $2; digest = $3; signature = $4; signer = $7; turn = $8; links++
}
BEGIN { pointer = ENVIRON["POINTER"]; number = 0; digest = signature = turn = "none" }
END {
    if (!links) told("there is no bag in a chain here: nothing was verified")
    if (links && turn != "none" && signer == "none") told(bag ": not signed, and no signed bag follows")
    if (stamps && roots == "") told("there are time stamps, and no bag names an authority")
    if (excerpt == "yes" && (lasts != 1 || ending != bag)) told("this is no excerpt: its last bag has no elsewhere.txt, or another one has")
    if (head != "" && !seen) told("the head " head " is not in this archive: it was cut off or written anew since")
    last = number " " digest " " signature " " turn " " bag
    n = split(pointer, lines, "\n")
    for (i = 1; i <= n; i++) {
        m = split(lines[i], word, " ")
        if ((word[1] == "head" && m == 6) || (word[1] == "next" && m == 7)) {
            pointed = 1
            if (last == word[2] " " word[3] " " word[4] " " word[5] " " word[6]) agrees = 1
        }
    }
    if (links && pointed && !agrees) told(".head says that the chain ends with another bag than the last one here")
    if (findings > 1000) print "FINDING and " findings - 1000 " more"
    print "HEAD", number, digest, (first == "" ? "none" : first)
    if (roots != "") print "ROOTS", roots
    print "WORD", rests + 0
}'

# A file of more than 64 MiB is read where its bag has so much payload, as bag-info.txt says, and the tag manifest of that.
may_be_read() { # file
    bag=${1%"${1#*/*/*/*/}"}
    bag=${bag%/}
    case $1 in "$bag"/data/*) ;; *) return 1 ;; esac
    [ -z "$(find "$1" -size +8388608)" ] && fits "$bag/bag-info.txt" && fits "$bag/tagmanifest-sha256.txt" || return 1
    octets=$(sed -n 's/^Payload-Oxum: \([0-9]\{1,15\}\)\.[0-9]*$/\1/p' "$bag/bag-info.txt")
    listed=$(sed -n 's/  bag-info\.txt$//p' "$bag/tagmanifest-sha256.txt")
    found=$(sha256sum "$bag/bag-info.txt")
    case $octets in '' | *[!0-9]*) return 1 ;; esac
    [ "${found%% *}" = "$listed" ] && [ -z "$(find "$1" -size "+${octets}c")" ]
}
check() {
    {
        {
            find $years -path "$deep" -type d -prune -o -type f -size -131073 -exec sha256sum {} + || echo u
            find $years -path "$deep" -type d -prune -o -type f -size +131072 -print | while read -r file; do
                if may_be_read "$file"; then sha256sum "$file" || echo u; else echo "x $file"; fi
            done
            echo d && { find $years -path "$deep" -type d -prune -print -o -type d -print || echo u; }
            echo o && find $years -path "$deep" -type d -prune -o ! -type f ! -type d -print
            echo h && find $years -path "$deep" -type d -prune -print -o \
                '(' -name '*.p7s' -o -name '*.tsr' ')' -type f -size +512 -print
        } | awk '$0 == "u" { print "= 0 FINDING there are files or folders that cannot be read"; next }
            NF == 1 && length($1) == 1 { kind = $1; next } { if (kind == "") print $2, "a", $1; else print $1, kind }'
        find $years -path "$deep" -type d -prune -o -type f '(' -size -2049 '(' -name manifest-sha256.txt \
            -o -name tagmanifest-sha256.txt -o -name beside-sha256.txt -o -name purged.txt -o -name elsewhere.txt ')' \
            -o -size -513 '(' -name chain.json -o -name bag-info.txt ')' ')' -exec awk -v excerpt="$excerpt" "$common$read_tags" {} +
        # an awk may take minutes for one line of megabytes, so a long list is asked first whether it has such a line
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
        POINTER=$(pointer) awk -v head="$head" -v excerpt="$excerpt" "$order" | check_seals
}

# --- signatures and time stamps ---------------------------------------------------------------------------------------
# The signer must be the very certificate that the chain names (-nointern, and no other in the file that is given), and lead
# to certs/roots.pem, and not to one that this machine trusts (SSL_CERT_DIR). That it has expired since makes no signature
# wrong (-no_check_time); where there is a time stamp, it was to be valid at that time, and so was the authority's certificate.
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
    found=$(openssl x509 -in "certs/$1.pem" -outform DER 2>/dev/null | sha256sum)
    [ "${found%% *}" = "$1" ] || return 1
    certificate=$(openssl x509 -in "certs/$1.pem") && known=0
}
# The time that a token states, as openssl reads it, "Time stamp: Nov 23 06:17:05 2026 GMT": in seconds since 1970, and in
# digits. It is the last such line: before it stands what the authority did not sign, and anybody could have written there.
stamped_at() { # token
    seconds= digits=
    told=$(openssl ts -reply -in "$1" -text </dev/null 2>/dev/null)
    told=${told##*"
Time stamp: "}
    told=${told%%" GMT"*}
    case $told in
    [A-Z][a-z][a-z]\ [\ 0-3][0-9]\ [0-2][0-9]:[0-5][0-9]:[0-6][0-9]\ [1-9][0-9][0-9][0-9]) ;;
    [A-Z][a-z][a-z]\ [\ 0-3][0-9]\ [0-2][0-9]:[0-5][0-9]:[0-6][0-9].*\ [1-9][0-9][0-9][0-9]) ;;
    *) return ;;
    esac
    names=JanFebMarAprMayJunJulAugSepOctNovDec
    before=${names%%"${told%% *}"*}
    year=${told##* } month=$((${#before} / 3 + 1)) clock=${told#????} day=${told#????}
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
cms_holds() { # signature content time, by the signer that was asked for last
    [ "$roots" = yes ] && printf '%s\n' "$certificate" | openssl cms -verify -binary -inform DER -in "$1" -content "$2" \
        -nointern -certfile /dev/stdin -CAfile certs/roots.pem $3 -out /dev/null >/dev/null 2>&1
}
check_seals() {
    while read -r kind bag signer stamp rest; do
        if [ "$kind" = GONE ]; then
            if ! knows "$signer"; then
                printf '%s\n' "FINDING $bag: certs/$signer.pem is missing or another certificate"
            elif ! cms_holds "$bag/bag.p7s" "$bag/tagmanifest-sha256.txt" -no_check_time; then
                printf '%s\n' "FINDING $bag: the signature that it keeps does not hold"
            fi
            continue
        fi
        if [ "$kind" != CHECK ]; then
            printf '%s\n' "$kind $bag $signer $stamp $rest"
            continue
        fi
        at=
        if [ "$stamp" = 1 ]; then
            data=$bag.p7s
            [ -e "$data" ] || data=$bag/tagmanifest-sha256.txt
            stamped_at "$bag.tsr"
            if [ "$tsa_roots" = yes ] && [ -n "$seconds" ] && openssl ts -verify -data "$data" -in "$bag.tsr" -CAfile certs/tsa-roots.pem \
                -attime "$seconds" </dev/null >/dev/null 2>&1; then
                at="-attime $seconds"
                printf '%s\n' "STAMP $digits"
            else
                printf '%s\n' "FINDING $bag.tsr: does not hold"
            fi
        fi
        [ "$signer" != none ] || continue
        if ! knows "$signer"; then
            printf '%s\n' "FINDING $bag: certs/$signer.pem is missing or another certificate"
        elif [ -n "$at" ] && cms_holds "$bag.p7s" "$bag/tagmanifest-sha256.txt" "$at"; then
            printf '%s\n' "SIGNED"
        elif cms_holds "$bag.p7s" "$bag/tagmanifest-sha256.txt" -no_check_time; then
            printf '%s\n' "SIGNED"
            [ -z "$at" ] || printf '%s\n' "LATE"
        else
            printf '%s\n' "FINDING $bag: its signature does not hold"
        fi
    done
    printf '%s\n' "SEALS looked"
}

# --- the verdict ------------------------------------------------------------------------------------------------------
look() {
    result=$(check)
    findings=$top files= bags= end= seals= purged= elsewhere= named_roots= word=
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
        SEALS) seals=$rest ;;
        esac
    done <<END
$result
END
    for value in files bags end seals purged elsewhere word; do
        eval "[ -n \"\$$value\" ]" || findings="$findings
the check itself did not come to its end ($value)"
    done
    if [ -n "$named_roots" ]; then
        found=
        [ "$tsa_roots" = no ] || found=$(sha256sum certs/tsa-roots.pem)
        [ "${found%% *}" = "$named_roots" ] || findings="$findings
certs/tsa-roots.pem: missing, or other than the chain says"
    fi
}
# Where a run was sealed meanwhile, half of it may have been seen: then it looks again.
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
set -- $end
echo "OK: $bags bags with $files files: none changed, added or missing, and the chain from the first to the last is whole."
[ "$excerpt" = no ] || echo "EXCERPT: $elsewhere bags of the archive are elsewhere; the last bag says which."
[ "$purged" -eq 0 ] || echo "Purged: $purged bags, as entries of the chain declare."
[ "$word" -eq 0 ] || echo "CAVEAT: nothing that binds is kept of $word bags (tombstones of the first format): what they were, and what lies before them in the chain, rests on the tombstone's word."
tell=$(printf '%s\n' "$result" | sort | awk '
    $1 == "SIGNED" { signed++ }
    $1 == "LATE" { late++ }
    $1 == "STAMP" { if (!stamps++) first = $2; last = $2 }
    function day(t) { return substr(t, 1, 4) "-" substr(t, 5, 2) "-" substr(t, 7, 2) "T" substr(t, 9, 2) ":" substr(t, 11, 2) ":" substr(t, 13, 2) "Z" }
    END { print signed + 0
        if (stamps) print "Time-stamped: " stamps " bags, " day(first) " to " day(last) ", by the authority of certs/tsa-roots.pem. Compare it too."
        if (late) print "Signed by a certificate that was not valid at the stamped time: " late " bags." }')
if [ "$3" != none ]; then
    echo "Signed: ${tell%%[!0-9]*} bags. Compare the first signer with what you were given elsewhere; it named the next, if there is one."
    echo "First signer: $3"
else
    echo "NOT SIGNED: whoever could write here could have made all of it anew. Compare the head below with one kept elsewhere."
fi
printf '%s\n' "$tell" | sed 1d
if [ -n "$head" ]; then
    echo "The head you gave is in the chain."
else
    echo "Without --head nobody can see whether bags were cut off at the end."
fi
echo "Head: $1 $2"
