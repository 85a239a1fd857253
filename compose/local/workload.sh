#!/bin/bash
# workload.sh DIRECTORY: what people and their programs do to files, for `make demo` to watch.
# Prints one line as each part begins. Leaves the directory full.
set -euo pipefail
cd "$1"

part() {
    echo "$*"
    sleep 0.7 # a person's pace: the counts can be seen to grow
}
# git's own settings must not depend on the user's, nor look at anything outside.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=demo GIT_AUTHOR_EMAIL=demo@localhost GIT_COMMITTER_NAME=demo GIT_COMMITTER_EMAIL=demo@localhost

part "git: init, add, commit and gc of 400 files"
git init -q -b main project
for directory in {1..20}; do
    mkdir -p "project/src/module-$directory"
    for file in {1..20}; do
        echo "int value_${directory}_$file(void) { return $directory * $file; }" > "project/src/module-$directory/$file.c"
    done
done
git -C project add .
git -C project commit -q -m "First"
for file in project/src/module-{1..5}/*.c; do echo "/* changed */" >> "$file"; done
git -C project commit -q -a -m "Second"
git -C project checkout -q -b side HEAD~1
git -C project checkout -q main
git -C project gc -q

part "tar: create and extract"
tar -czf project.tar.gz project
mkdir extracted
tar -xzf project.tar.gz -C extracted

part "sqlite3: tables, updates, vacuum"
sqlite3 -batch shop.db <<'SQL'
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO item SELECT i, 'item ' || i, i * 7 FROM n;
CREATE INDEX item_price ON item (price);
UPDATE item SET price = price + 1 WHERE id % 3 = 0;
DELETE FROM item WHERE id % 5 = 0;
VACUUM;
SQL

part "gcc: compile and link ten files"
{
    for file in {1..10}; do echo "int value_1_$file(void);"; done
    echo 'int main(void) { return value_1_1() - 1; }'
} > main.c
gcc -O1 -o program main.c project/src/module-1/{1..10}.c
./program

part "editors: temporary file and rename, backup and truncate, in place"
echo "first line" > notes.txt
for round in {1..20}; do
    { cat notes.txt; echo "round $round"; } > .notes.txt.tmp # vim, VS Code: write aside, then rename
    mv .notes.txt.tmp notes.txt
    cp -p notes.txt notes.txt~ # emacs, nano -B: keep a copy, then overwrite
    echo "round $round" > notes.txt
    sed -i "s/round/Round/" notes.txt
done

part "names: links, deep directories, every alphabet"
ln notes.txt hard-link.txt
ln -s notes.txt symbolic-link.txt
cat hard-link.txt symbolic-link.txt > both.txt
deep=deep
for level in {1..40}; do deep+="/level-$level"; done
mkdir -p "$deep"
echo bottom > "$deep/file"
for name in 'Ελληνικά' '日本語' 'naïve café' '🐝 bpf' 'back\slash' $'new\nline' $'not-utf8-\xff\xfe'; do
    echo "$name" > "$name"
    cat "$name" > /dev/null
    mv "$name" "$name.moved"
    rm "$name.moved"
done
mv extracted/project extracted/renamed # a directory: everything below has a new path
for file in extracted/renamed/src/module-1/*.c; do cat "$file" > /dev/null; done

part "attributes: mode, owner, times, extended attributes"
for file in project/src/module-2/*.c; do
    chmod 600 "$file"
    chown 1234:1234 "$file"
    touch -d 2001-02-03 "$file"
done
/usr/bin/python3 - <<'PYTHON'
import mmap, os

os.setxattr("notes.txt", "user.comment", b"seen by fsmon")
os.removexattr("notes.txt", "user.comment")

with open("main.c", "rb") as source, open("mapped.c", "w+b") as target:
    os.truncate(target.fileno(), os.fstat(source.fileno()).st_size)
    with mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ) as old, mmap.mmap(target.fileno(), 0) as new:
        new[:] = old[:]
PYTHON

part "space: fallocate, truncate, mkdir and rmdir, removal"
fallocate -l 1M allocated.bin
truncate -s 4096 allocated.bin
for directory in {1..100}; do mkdir "empty-$directory"; done
for directory in {1..100}; do rmdir "empty-$directory"; done
rm -r extracted
