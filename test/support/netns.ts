/**
 * Tests in a network of their own, where ports, names, addresses and routes are the test's. Such a test runs itself
 * again under unshare(1), with an /etc/hosts that it may write.
 */
import { test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { program, type Tool, toolTest } from './tools.ts';

const inside = process.env['SHADOW_AGENT_NETNS'];
const ip = program('ip', 'iproute2');
// Network, mounts and processes: what is started in there ends with it.
const own = ['-n', '-m', '-p', '-f', '--kill-child'];
const namespaces: Tool = {
  name: 'network namespaces (root)',
  debianPackage: 'util-linux',
  path: 'unshare',
  found: spawnSync('unshare', [...own, 'true']).status === 0,
};

/** Addresses of the network that take every packet and answer none. */
export const dead = { v4: '10.9.0.66', v6: 'fd00:9::66' };

const setUp = `set -e
ip link set lo up
ip link add d0 type veth peer name d1
ip addr add 10.9.0.1/24 dev d0
ip -6 addr add fd00:9::1/64 dev d0 nodad
ip link set d0 up
ip link set d1 up
ip neigh add ${dead.v4} lladdr 02:00:00:00:00:66 dev d0
ip -6 neigh add ${dead.v6} lladdr 02:00:00:00:00:66 dev d0
mount --bind "$1" /etc/hosts
shift
exec "$@"`;

/** Registers a test of a file; `path` is the file's own. */
export function netnsTest(path: string, name: string, play: () => Promise<void>, timeoutMs = 60_000): void {
  if (inside !== undefined) {
    test(name, play, timeoutMs);
    return;
  }
  toolTest(
    [namespaces, ip],
    name,
    async () => {
      const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-netns-'));
      const hosts = join(dir, 'hosts');
      await writeFile(hosts, '127.0.0.1 localhost\n');
      const pattern = `^${name.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}$`;
      const command = [process.execPath, 'test', path, '-t', pattern];
      const { status, stdout, stderr } = spawnSync(
        namespaces.path,
        [...own, 'sh', '-c', setUp, 'sh', hosts, ...command],
        { encoding: 'utf8', timeout: timeoutMs, env: { ...process.env, SHADOW_AGENT_NETNS: '1' } },
      );
      await rm(dir, { recursive: true, force: true });
      if (status !== 0) throw new Error(`${stdout}\n${stderr}`);
    },
    timeoutMs + 5_000,
  );
}

/** Says which addresses names have, from now on. */
export async function nameHosts(...lines: string[]): Promise<void> {
  await writeFile('/etc/hosts', `${lines.join('\n')}\n`);
}

/** Has the name service never answer, from now on. */
export async function silenceNames(dir: string): Promise<void> {
  const path = join(dir, 'resolv.conf');
  await writeFile(path, `nameserver ${dead.v4}\n`);
  spawnSync('mount', ['--bind', path, '/etc/resolv.conf']);
}

/** Takes the network down, or up again: packets are lost without a word. */
export function setNetwork(state: 'up' | 'down'): void {
  spawnSync(ip.path, ['link', 'set', 'lo', state]);
}
