import { link, lstat, rename } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import * as v from 'valibot';
import { AgentError } from '../core/errors.ts';
import type { JsonValue } from '../core/json.ts';
import { errnoOf, remove } from './disk.ts';

const maxRequestBytes = 4096;
const probeTimeoutMs = 2_000;
const requestSchema = v.object({ command: v.literal('status') });

/** The socket of the running agent: who holds it holds the state directory. */
export interface Control {
  close(): Promise<void>;
}

/**
 * Takes `stateDir/agent.sock`, which is both the lock of the directory and the way to ask the agent: one JSON line
 * `{"command":"status"}` in, one JSON line out.
 *
 * A socket that nobody listens to is what a killed agent left, and is taken over.
 *
 * @throws AgentError when another agent holds the directory
 */
export async function takeControl(stateDir: string, status: () => JsonValue): Promise<Control> {
  const path = join(stateDir, 'agent.sock');
  const own = `${path}.${process.pid}`;
  await remove(own);
  const server = createServer((socket) => serve(socket, status));
  const umask = process.umask(0o177);
  try {
    await listen(server, own);
  } finally {
    process.umask(umask);
  }
  try {
    await claim(own, path);
    const { ino } = await lstat(path);
    return {
      close: async () => {
        const current = await lstat(path).catch(() => undefined);
        if (current?.ino === ino) await remove(path);
        await closeServer(server);
      },
    };
  } catch (error) {
    await closeServer(server);
    throw error;
  } finally {
    await remove(own);
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

/** Gives our listening socket its public name, which only one process can. */
async function claim(own: string, path: string): Promise<void> {
  for (;;) {
    try {
      return await link(own, path);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
    if (await answers(path)) throw held(path);
    // It may be another's by now: what is moved aside is asked once more before it goes.
    const aside = `${own}.stale`;
    try {
      await rename(path, aside);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') continue;
      throw error;
    }
    const alive = await answers(aside);
    if (alive) await link(aside, path).catch(() => undefined);
    await remove(aside);
    if (alive) throw held(path);
  }
}

function held(path: string): AgentError {
  return new AgentError('CONFIG_INVALID', `Another agent is running on this state directory (${path})`, {
    hint: 'stop it first, or set another "stateDir"',
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (alive: boolean) => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(probeTimeoutMs, () => done(true));
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}

function serve(socket: Socket, status: () => JsonValue): void {
  let request = '';
  socket.setEncoding('utf8');
  socket.setTimeout(probeTimeoutMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: string) => {
    request += chunk;
    if (request.length > maxRequestBytes) socket.destroy();
    else if (request.includes('\n')) socket.end(`${JSON.stringify(reply(request, status))}\n`);
  });
}

function reply(request: string, status: () => JsonValue): JsonValue {
  try {
    v.parse(requestSchema, JSON.parse(request));
    return status();
  } catch {
    return { error: 'unknown request' };
  }
}
