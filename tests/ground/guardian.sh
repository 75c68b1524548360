#!/bin/sh
# Cleans up after a test program, however it ended.
#
#   guardian.sh DIRECTORY
#
# Standard input is a pipe. Only the test program has its other end, so it ends when the program
# ends. Then this script kills every process that names the directory, removes the containers of its
# containerd, unmounts what is mounted in the directory, and removes the directory.
dir=$1
trap '' HUP INT QUIT TERM
cat > /dev/null
PATH=$PATH:/usr/sbin:/sbin

# The processes that have a path in the directory as an argument: containerd, its shims, the
# registry.
named() {
    for process in /proc/[0-9]*; do
        if tr '\0' '\n' < "$process/cmdline" | grep -qF -e "$dir/"; then
            echo "${process#/proc/}"
        fi
    done 2> /dev/null
}

# The mount points in the directory. The last one is first.
mounted() {
    cut -d ' ' -f 5 /proc/self/mountinfo | grep -F -e "$dir/" | tac
}

[ -d "$dir" ] || exit 0

round=0
while pids=$(named) && [ -n "$pids" ] && [ $round -lt 100 ]; do
    for pid in $pids; do kill -KILL "$pid" 2> /dev/null; done
    sleep 0.05
    round=$((round + 1))
done

for bundle in "$dir"/*/state/io.containerd.runtime.v2.task/*/*; do
    [ -d "$bundle" ] || continue
    namespace=${bundle%/*}
    timeout 20 runc --root "/run/containerd/runc/${namespace##*/}" delete --force "${bundle##*/}" \
        2> /dev/null
    # The shim's socket is outside of the directory.
    socket=$(cat "$bundle/address" "$bundle/bootstrap.json" 2> /dev/null |
        grep -o 'unix://[^"]*' | head -n 1)
    [ -z "$socket" ] || rm -f "${socket#unix://}"
done

# Removes what containerd and runc have left of a namespace. If the creation of a process broke off,
# they do not list it, but it is in its cgroup. (Other programs may use the default namespace.)
for namespace in "$dir"/*/state/io.containerd.runtime.v2.task/*; do
    namespace=${namespace##*/}
    case $namespace in '*' | default) continue ;; esac
    for group in /sys/fs/cgroup/"$namespace" /sys/fs/cgroup/*/"$namespace"; do
        [ -d "$group" ] || continue
        for pid in $(cat "$group"/*/cgroup.procs 2> /dev/null); do
            kill -KILL "$pid" 2> /dev/null
        done
        round=0
        until find "$group" -depth -type d -exec rmdir {} + 2> /dev/null || [ $round -ge 40 ]; do
            sleep 0.05
            round=$((round + 1))
        done
    done
    rm -rf "/run/containerd/runc/$namespace"
done

mounted | while read -r point; do
    umount "$point" || umount -l "$point"
done
if [ -n "$(mounted)" ]; then
    echo "guardian.sh: $dir is left, for there are mounts in it" >&2
    exit 1
fi
rm -rf --one-file-system "$dir"
