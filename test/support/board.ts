/**
 * An arm64 board, simulated: this machine's file system with a layer of its own over it, in which arm64 programs run
 * under qemu, behind a `ssh` and a `scp` that know one host, `board`. It has no systemd: its `systemctl` starts what a
 * unit says as the user that it says, and no more.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tool } from './tools.ts';

const glibc = '/usr/aarch64-linux-gnu';
// The kernel has one list for all: another run of the tests is not to take this entry away.
const format = `shadow-agent-board-${process.pid}`;
// Mounts and processes of its own, which end with the first of them.
const inside = ['-m', '-p', '-f', '--kill-child', '--mount-proc'];
// Which files are programs for arm64 Linux: the first 20 bytes of an ELF header, and which bits of them count.
const magic = String.raw`\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00`;
const mask = String.raw`\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`;

const systemctl = `#!/bin/sh
[ "$1" = daemon-reload ] && exit 0
[ "$*" = "enable --now shadow-agent" ] || exit 64
unit=/etc/systemd/system/shadow-agent.service
value() { sed -n "s/^$1=//p" "$unit"; }
user=$(value User)
state=/var/lib/$(value StateDirectory)
install -d -m 700 -o "$user" "$state"
setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups \\
  env -i QEMU_LD_PREFIX=${glibc} STATE_DIRECTORY="$state" $(value ExecStart) 2>>/var/log/shadow-agent.log &
`;

/** Whether this machine can be one: who may not mount has no board. */
export function boards(): Tool {
  const probe =
    'mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && test -w /proc/sys/fs/binfmt_misc/register';
  const { status } = spawnSync('unshare', [...inside, 'sh', '-c', probe]);
  return {
    name: 'the right to mount',
    debianPackage: 'util-linux, as root',
    path: 'unshare',
    found: status === 0,
  };
}

export class Board {
  /** Holds `ssh` and `scp`; to be first in PATH. */
  readonly bin: string;
  readonly #dir: string;
  readonly #init: ChildProcess;

  private constructor(dir: string, init: ChildProcess) {
    this.#dir = dir;
    this.#init = init;
    this.bin = join(dir, 'bin');
  }

  static async start(qemu: string): Promise<Board> {
    const dir = mkdtempSync(join(tmpdir(), 'shadow-agent-board-'));
    const layer = join(dir, 'layer');
    const root = join(layer, 'root');
    mkdirSync(layer);
    mkdirSync(join(dir, 'bin'));
    writeFileSync(join(dir, 'systemctl'), systemctl, { mode: 0o755 });
    // Everything is of this one process: with it go all that runs on the board, and every mount.
    const script = `set -e
mount -t tmpfs none ${layer}
mkdir ${layer}/upper ${layer}/work ${root}
mount -t overlay overlay -o lowerdir=/,upperdir=${layer}/upper,workdir=${layer}/work ${root}
mount --rbind /dev ${root}/dev
mount -t proc proc ${root}/proc
mount -t tmpfs none ${root}/tmp
chmod 1777 ${root}/tmp
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
test ! -e /proc/sys/fs/binfmt_misc/${format} || echo -1 >/proc/sys/fs/binfmt_misc/${format}
printf '%s' ':${format}:M::${magic}:${mask}:${qemu}:F' >/proc/sys/fs/binfmt_misc/register
cp ${dir}/systemctl ${root}/usr/local/sbin/systemctl
mkdir -p ${root}/etc/systemd/system
echo ready
read -r _
echo -1 >/proc/sys/fs/binfmt_misc/${format}
`;
    const init = spawn('unshare', [...inside, 'sh', '-c', script]);
    const board = new Board(dir, init);
    let said = '';
    init.stderr.on('data', (text) => {
      said += text;
    });
    const first = await Promise.race([once(init.stdout, 'data'), once(init, 'close')]);
    if (!String(first[0]).startsWith('ready')) throw new Error(`no board: ${said}`);
    board.#programs(root);
    return board;
  }

  #programs(root: string): void {
    const { pid } = this.#init;
    // The first child of unshare is the one inside.
    const enter = `pid=$(cat /proc/${pid}/task/${pid}/children) && exec nsenter -t $((pid)) -m -p`;
    const ssh = `#!/bin/sh
[ "$1" = -f ] && { shift; set -- "$@" '>/dev/null' '&'; }
[ "$1" = board ] || exit 255
shift
${enter} chroot ${root} env -i HOME=/root QEMU_LD_PREFIX=${glibc} \\
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -c "cd && $*"
`;
    const scp = `#!/bin/bash
[ "$1" = -r ] && shift
case \${!#} in board:/*) to=\${!#} to=${root}\${to#board:} ;; board:) to=${root}/root/ ;; *) exit 255 ;; esac
set -- "\${@:1:$#-1}"
${enter} sh -c 'cd "$0" && exec cp -r "$@"' "$PWD" "$@" "$to"
`;
    writeFileSync(join(this.bin, 'ssh'), ssh, { mode: 0o755 });
    writeFileSync(join(this.bin, 'scp'), scp, { mode: 0o755 });
  }

  async stop(): Promise<void> {
    const closed = once(this.#init, 'close');
    this.#init.stdin?.end('\n');
    await closed;
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
