/** A real forward proxy, Debian's tinyproxy, with Basic authentication. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.ts';
import { program } from './tools.ts';
import { Run } from './world.ts';

export const tinyproxy = program('tinyproxy', 'tinyproxy-bin');

export interface ForwardProxy {
  port: number;
  /** What it has carried, as `host:port`. */
  tunnels(): string[];
  /** All that it has logged. */
  log(): string;
  close(): Promise<void>;
}

/** Starts it on loopback. User and password are as `tinyproxy.conf` has them: no blank in them. */
export async function startTinyproxy(user: string, password: string): Promise<ForwardProxy> {
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-proxy-'));
  const port = await freePort();
  const settings = [
    `Port ${port}`,
    'Listen 127.0.0.1',
    'Timeout 600',
    'MaxClients 100',
    'LogLevel Connect',
    `LogFile "${dir}/log"`,
    `BasicAuth ${user} ${password}`,
  ];
  await writeFile(join(dir, 'tinyproxy.conf'), `${settings.join('\n')}\n`);
  const run = new Run(tinyproxy.path, ['-d', '-c', join(dir, 'tinyproxy.conf')], dir);
  const path = join(dir, 'log');
  const log = () => (existsSync(path) ? readFileSync(path, 'utf8') : '');
  let isUp = run.child.exitCode !== null;
  for (let tries = 0; !isUp && tries < 200; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    isUp = (await listens(port)) || run.child.exitCode !== null;
  }
  if (!isUp || run.child.exitCode !== null) throw new Error(`tinyproxy does not start:\n${run.log}`);
  return {
    port,
    log,
    tunnels: () => [...log().matchAll(/CONNECT (\S+:\d+) HTTP/g)].map(([, to = '']) => to),
    close: async () => {
      await run.stop('SIGKILL');
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function listens(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, '127.0.0.1');
  socket.once('connect', () => resolve(true));
  socket.once('error', () => resolve(false));
  return promise.finally(() => socket.destroy());
}
