import { link, lstat, readdir } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { AgentError, toAgentError } from '../core/errors.ts';
import type { JsonValue } from '../core/json.ts';
import { diskError, errnoOf, makeDirectory, remove } from './disk.ts';

const maxRequestBytes = 4096;
const probeTimeoutMs = 2_000;
const guardRetryMs = 20;
const guardTries = 250;
const requestSchema = v.variant('command', [
  v.object({ command: v.literal('status') }),
  v.object({ command: v.literal('rollback'), property: v.string() }),
]);

/** What one may ask a running agent: one line of JSON. */
export type ControlRequest = v.InferOutput<typeof requestSchema>;
/** Answers a request with one line of JSON. An AgentError that it throws is handed to whoever asked. */
export type Answer = (request: ControlRequest) => JsonValue | Promise<JsonValue>;

/** Where the agent of a state directory listens. */
export function socketPath(stateDir: string): string {
  return join(stateDir, 'agent.sock');
}

/** The socket of the running agent: who holds it holds the state directory. */
export interface Control {
  close(): Promise<void>;
}

/**
 * Takes `stateDir/agent.sock`, which is both the lock of the directory and the way to ask the agent: one JSON line in,
 * `{"command":"status"}` for one, and one out. The directory is made if need be.
 *
 * A socket that nobody listens to is what a killed agent left, and is taken over.
 *
 * @throws AgentError when another agent holds the directory; INSTALL when it cannot be written
 */
export async function takeControl(stateDir: string, answer: Answer): Promise<Control> {
  const path = socketPath(stateDir);
  const own = `${path}.${process.pid}`;
  const callers = new Set<Socket>();
  const server = createServer((socket) => {
    callers.add(socket);
    socket.once('close', () => callers.delete(socket));
    serve(socket, answer);
  });
  try {
    await makeDirectory(stateDir, 0o700);
    await remove(own);
    await listen(server, own);
    await claim(own, path);
    await removeLitter(stateDir);
    const { ino } = await lstat(path);
    return {
      close: async () => {
        const current = await lstat(path).catch(() => undefined);
        if (current?.ino === ino) await remove(path);
        for (const caller of callers) caller.destroy();
        await closeServer(server);
      },
    };
  } catch (error) {
    await closeServer(server);
    throw diskError(error, `Cannot use the state directory ${stateDir}`, stateDir);
  } finally {
    await remove(own).catch(() => undefined);
  }
}

/** The socket is never open to others, not even for the instant before a chmod. */
function listen(server: Server, path: string): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const umask = process.umask(0o177);
    const done = (settle: () => void) => () => {
      process.umask(umask);
      settle();
    };
    server.once('error', (error) => done(() => reject(error))());
    server.listen(path, done(resolve));
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

/** Gives our listening socket its public name, which only one process can. */
async function claim(own: string, path: string): Promise<void> {
  for (let tries = 0; tries < guardTries; tries += 1) {
    try {
      return await link(own, path);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
    if (await isStale(path)) await removeStale(path);
    else if (await exists(path)) throw held(path);
  }
  throw held(path);
}

/** Sockets of agents that were killed before they had the public name. */
async function removeLitter(stateDir: string): Promise<void> {
  for (const name of await readdir(stateDir)) {
    const path = join(stateDir, name);
    if (/^agent\.sock\.\d+$/.test(name) && (await isStale(path))) await remove(path);
  }
}

/** Takes the name away from a socket that nobody listens to. One process at a time: another might have it by then. */
async function removeStale(path: string): Promise<void> {
  const guard = createServer();
  try {
    await listen(guard, await guardName(dirname(path)));
  } catch (error) {
    if (errnoOf(error) !== 'EADDRINUSE') throw error;
    await new Promise((resolve) => setTimeout(resolve, guardRetryMs));
    return;
  }
  try {
    // Refused, not gone: a name that is gone may be somebody's the moment after.
    if (await isStale(path)) await remove(path);
  } finally {
    await closeServer(guard);
  }
}

/** A name in the kernel alone (Linux), which goes with its process; elsewhere a socket file. */
async function guardName(stateDir: string): Promise<string> {
  const { dev, ino } = await lstat(stateDir);
  return process.platform === 'linux' ? `\0shadow-agent:${dev}:${ino}` : join(stateDir, 'agent.guard');
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

function held(path: string): AgentError {
  return new AgentError('CONFIG_INVALID', `Another agent is running on this state directory (${path})`, {
    hint: 'stop it first, or ask it: shadow-agent status. Another "stateDir" is for another thing, with files and client id of its own',
  });
}

/** A refused connect is what a killed agent's socket gives; of anything else no more is known. */
function isStale(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (stale: boolean) => {
      socket.destroy();
      resolve(stale);
    };
    socket.setTimeout(probeTimeoutMs, () => done(false));
    socket.once('connect', () => done(false));
    socket.once('error', (error) => done(errnoOf(error) === 'ECONNREFUSED'));
  });
}

function serve(socket: Socket, answer: Answer): void {
  let request = '';
  let isAnswered = false;
  socket.setEncoding('utf8');
  socket.setTimeout(probeTimeoutMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: string) => {
    request += chunk;
    if (request.length > maxRequestBytes) socket.destroy();
    if (!request.includes('\n') || isAnswered) return;
    isAnswered = true;
    // What was asked for may take its time.
    socket.setTimeout(0);
    reply(request, answer).then((line) => socket.end(`${JSON.stringify(line)}\n`));
  });
}

async function reply(line: string, answer: Answer): Promise<JsonValue> {
  const request = parseRequest(line);
  if (request === undefined) return { error: 'unknown request' };
  try {
    return await answer(request);
  } catch (error) {
    const { code, message, hint } = toAgentError(error, 'INSTALL', `Cannot do "${request.command}"`);
    return { error: message, code, ...(hint === undefined ? {} : { hint }) };
  }
}

function parseRequest(line: string): ControlRequest | undefined {
  try {
    return v.parse(requestSchema, JSON.parse(line));
  } catch {
    return undefined;
  }
}
