#!/bin/bash
# SPDX-License-Identifier: ISC
# Power loss below a real file system: the spool runs on ext4 on a loop
# device on a disk of our own (FUSE) whose write cache forgets; then ext4
# recovers from what the disk had, and the spool from that.
#
#	blockdev.sh TOOLS [STATES [SEED [MESSAGES]]]
#
# TOOLS is the folder of driver and replay, such as BUILD/tests/crash or
# BUILD/tests/crash/mutant-1. For root, on a machine that may lose the loop
# device; needs python3-fusepy, libfuse2, e2fsprogs. Exit 0: nothing was
# lost; 1: something was; 77: it cannot be done here, and says why. What was
# settled and comes back is not looked for: replay does that.
set -u
[ $# -ge 1 ] || { sed -n '/^#\t/s/^#\t/usage: /p' "$0"; exit 64; }
tools=$(realpath "$1")
states=${2:-300} seed=${3:-1} messages=${4:-300}
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin

skip() {
	echo "skipped: $*"
	exit 77
}
[ "$(id -u)" = 0 ] || skip "only root can mount"
[ -c /dev/fuse ] || skip "this kernel has no /dev/fuse"
[ -c /dev/loop-control ] || skip "this kernel has no loop devices"
for tool in losetup mkfs.ext4 fusermount; do
	command -v $tool >/dev/null || skip "there is no $tool"
done
/usr/bin/python3 -c 'import fusepy' 2>/dev/null ||
	skip "python3-fusepy or libfuse2 is missing"
[ -x "$tools/driver" ] && [ -x "$tools/replay" ] ||
	skip "there is no $tools/driver: make check builds it"

work=$(mktemp -d /dev/shm/ostler-blockdev-XXXXXX) || exit 2
disk=$work/fuse mount=$work/mount
mkdir "$disk" "$mount"
loop='' server=''
cleanup() {
	mountpoint -q "$mount" && umount "$mount"
	[ -z "$loop" ] || losetup -d "$loop"
	mountpoint -q "$disk" && fusermount -u "$disk"
	[ -z "$server" ] || wait "$server"
	[ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT

# One state: the image is mounted, so ext4 replays its journal, and the spool
# has to hold what the marks up to that length promise.
cat >"$work/check" <<EOF
#!/bin/bash
PATH=\$PATH:/usr/sbin:/sbin
loop=\$(losetup -f --show "$work/image") || exit 2
if ! mount -t ext4 "\$loop" "$mount" 2>>"$work/mount.log"; then
	echo "ext4 does not mount"
	losetup -d "\$loop"
	exit 1
fi
"$tools/replay" -c "$mount/spool" -l "\$1" "$work/marks"
rc=\$?
umount "$mount"
losetup -d "\$loop"
exit \$rc
EOF
chmod +x "$work/check"

/usr/bin/python3 "$here/blockdev.py" serve "$disk" "$work/record" \
	"$work/marks" >"$work/fuse.log" 2>&1 &
server=$!
for _ in $(seq 100); do
	[ -e "$disk/disk" ] && break
	kill -0 "$server" 2>/dev/null || break
	read -rt 0.1 <> <(:)
done
[ -e "$disk/disk" ] || {
	grep -qi 'not permitted\|permission denied' "$work/fuse.log" &&
		skip "FUSE may not mount: $(tail -n 1 "$work/fuse.log")"
	cat "$work/fuse.log" >&2
	exit 2
}
loop=$(losetup -f --show "$disk/disk" 2>&1) ||
	{ why=$loop loop=''; skip "no loop device on it: $why"; }
mkfs.ext4 -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$loop" ||
	exit 2
mount -t ext4 "$loop" "$mount" 2>"$work/mount.log" || {
	grep -q 'unknown filesystem type\|permission denied' "$work/mount.log" &&
		skip "ext4 may not be mounted: $(tail -n 1 "$work/mount.log")"
	cat "$work/mount.log" >&2
	exit 2
}
mkdir "$mount/spool"
sync -f "$mount"

run() { # run NUMBER
	OSTLER_CRASH_TRACE=$work/marks ASAN_OPTIONS=detect_leaks=0 \
		timeout 300 "$tools/driver" "$mount/spool" "$seed" "$1" \
		"$messages" >>"$work/log" 2>&1
}
run 0 && run 1 || { cat "$work/log"; exit 2; }
umount "$mount"
losetup -d "$loop"
loop=''
ASAN_OPTIONS=detect_leaks=0 /usr/bin/python3 "$here/blockdev.py" states \
	"$work/record" "$work/image" "$states" "$seed" "$work/check"
