#!/bin/busybox sh
# Process 1 of the guest. Speaks on the console: lines that begin with "GUEST:"; a line "stop" ends
# the rounds. Kernel parameter "guest=write" or "guest=verify".
/bin/busybox mkdir -p /proc /sys /dev /mnt /tmp /etc
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ln -s /proc/mounts /etc/mtab
for module in $(cat /modules/order); do insmod "/modules/$module" || echo "GUEST: no $module"; done

say() { echo "GUEST: $*"; }
finish() {
  say "$1"
  sync
  poweroff -f
}

# Sums are kept beside the files and in memory: what the disk forgets, memory still knows.
write_round() {
  folder=/mnt/round$1
  mkdir "$folder" && cd "$folder" || return 1
  for i in 1 2 3 4; do
    dd if=/dev/urandom of=data$i bs=64k count=$((i * 6)) 2>/dev/null || return 1
  done
  # Many small files, some of them removed again: metadata moves.
  for i in $(seq 40); do echo "round $1 file $i" > small$i || return 1; done
  rm -f small?5 small?0
  sha256sum data* small* > /tmp/sums$1 || return 1
  cp /tmp/sums$1 sums || return 1
  cd /
  sync
}
check_round() {
  cd /mnt/round$1 || return 1
  sha256sum -c /tmp/sums$1 > /tmp/checked 2>&1 || { cat /tmp/checked; cd /; return 1; }
  cd /
}

write() {
  /tools/mke2fs -q -t ext4 -F /dev/vda || finish "FAILED mke2fs"
  mount -t ext4 /dev/vda /mnt || finish "FAILED mount"
  say "ready"
  round=0
  while :; do
    round=$((round + 1))
    write_round $round || finish "FAILED write in round $round"
    echo 3 > /proc/sys/vm/drop_caches
    for back in $round $((round - 1)) $((round / 2)); do
      [ $back -lt 1 ] || check_round $back || finish "FAILED check of round $back in round $round"
    done
    # Room for the next ones.
    [ $round -le 24 ] || rm -rf /mnt/round$((round - 24)) /tmp/sums$((round - 24))
    say "round $round"
    if read -t 0.01 line && [ "$line" = stop ]; then break; fi
  done
  umount /mnt || finish "FAILED umount"
  /tools/e2fsck -f -n /dev/vda > /tmp/fsck 2>&1 || { cat /tmp/fsck; finish "FAILED e2fsck"; }
  finish "done after $round rounds"
}

verify() {
  mount -t ext4 -o ro /dev/vda /mnt || finish "FAILED mount"
  count=0
  for folder in /mnt/round*; do
    cd "$folder" && sha256sum -c sums > /tmp/checked 2>&1 || {
      cat /tmp/checked
      finish "FAILED check of $folder"
    }
    count=$((count + 1))
  done
  cd /
  umount /mnt
  finish "verified $count rounds"
}

case "$(cat /proc/cmdline)" in
  *guest=verify*) verify ;;
  *) write ;;
esac
