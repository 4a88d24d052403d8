import { afterEach, describe, expect, test } from 'bun:test';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Control, takeControl } from '../../src/io/control.ts';
import { caught, exists, useTempDir } from '../support/io-helpers.ts';

const dir = useTempDir();
const holder = join(import.meta.dir, '..', 'support', 'io-control-holder.ts');
const children = new Set<ChildProcess>();
const controls = new Set<Control>();

afterEach(async () => {
  for (const child of children) await kill(child);
  for (const control of controls) await control.close();
  controls.clear();
});

function socketPath(): string {
  return join(dir(), 'agent.sock');
}

async function take(status: () => { ok: boolean } = () => ({ ok: true })): Promise<Control> {
  const control = await takeControl(dir(), status);
  controls.add(control);
  return control;
}

interface Starter {
  child: ChildProcess;
  said: string;
}

/** Starts processes that take the lock all at the same time; resolves when each holds it or was refused. */
async function startAtOnce(count: number): Promise<Starter[]> {
  const ready = await Promise.all(
    Array.from({ length: count }, async () => {
      const child = spawn(process.execPath, [holder, dir()], { stdio: ['pipe', 'pipe', 'inherit'] });
      children.add(child);
      await once(child.stdout, 'data');
      return child;
    }),
  );
  for (const { stdin } of ready) stdin.write('go\n');
  return Promise.all(
    ready.map(async (child) => ({ child, said: String((await once(child.stdout, 'data'))[0]).trim() })),
  );
}

async function start(): Promise<Starter> {
  const [starter] = await startAtOnce(1);
  if (starter === undefined) throw new Error('nothing was started');
  return starter;
}

async function kill(child: ChildProcess): Promise<void> {
  children.delete(child);
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** Sends bytes and gives back all that comes until the agent ends the connection. */
function say(bytes: string | Uint8Array, path = socketPath()): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect(path);
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk.toString();
    });
    socket.on('error', (error) =>
      'code' in error && error.code === 'EPIPE' ? resolve(answer) : reject(error),
    );
    socket.on('close', () => resolve(answer));
    socket.write(bytes);
  });
}

const status = '{"command":"status"}\n';

describe('the control socket', () => {
  test('answers status with one line of JSON', async () => {
    await take(() => ({ ok: true }));
    expect(await say(status)).toBe('{"ok":true}\n');
  });

  test('takes a request that comes in pieces, and many callers at once', async () => {
    let count = 0;
    await take(() => ({ ok: true, count: ++count }));
    const socket = connect(socketPath());
    for (const char of status) {
      socket.write(char);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const [answer] = await once(socket, 'data');
    expect(JSON.parse(String(answer))).toEqual({ ok: true, count: 1 });
    const answers = await Promise.all(Array.from({ length: 50 }, () => say(status)));
    expect(new Set(answers).size).toBe(50);
  });

  test('is for the user of the agent alone, and nothing lies beside it', async () => {
    await take();
    const stat = await lstat(socketPath());
    expect([stat.isSocket(), stat.mode & 0o777]).toEqual([true, 0o600]);
    expect(await readdir(dir())).toEqual(['agent.sock']);
  });

  test('leaves the umask of the process as it was', async () => {
    const before = process.umask(0o027);
    try {
      await take();
      expect(process.umask()).toBe(0o027);
    } finally {
      process.umask(before);
    }
  });

  test('is gone when it is closed, and can be taken again', async () => {
    const control = await take();
    await control.close();
    expect(await readdir(dir())).toEqual([]);
    await take();
    expect(await say(status)).toBe('{"ok":true}\n');
  });

  test('closing leaves the socket of another agent alone', async () => {
    const control = await take();
    await rename(socketPath(), join(dir(), 'away'));
    await start();
    await control.close();
    expect(await exists(socketPath())).toBe(true);
    expect(await say(status)).toContain('pid');
  });

  test.each(['silent', 'dripping'])('closing does not wait for a %s caller', async (kind) => {
    const control = await take();
    const socket = connect(socketPath());
    await once(socket, 'connect');
    socket.on('error', () => undefined);
    const drip = setInterval(() => kind === 'dripping' && socket.write(' '), 100);
    try {
      const ended = control.close().then(() => 'closed');
      const late = new Promise((resolve) => setTimeout(resolve, 3000, 'still open'));
      expect(await Promise.race([ended, late])).toBe('closed');
    } finally {
      clearInterval(drip);
      socket.destroy();
    }
  });

  test('makes the state directory, for the agent alone', async () => {
    const stateDir = join(dir(), 'a', 'state');
    controls.add(await takeControl(stateDir, () => null));
    expect((await lstat(stateDir)).mode & 0o777).toBe(0o700);
  });

  test('reports a state directory that cannot be used as INSTALL, naming it', async () => {
    await writeFile(join(dir(), 'file'), '');
    const error = await caught(takeControl(join(dir(), 'file'), () => null));
    expect(error.code).toBe('INSTALL');
    expect(error.message).toContain(join(dir(), 'file'));
  });
});

describe('what is no request', () => {
  test.each([
    ['garbage', 'hello\n'],
    ['bytes', new Uint8Array([0, 255, 254, 10])],
    ['an unknown command', '{"command":"shutdown"}\n'],
    ['another shape', '[1,2,3]\n'],
    ['an empty line', '\n'],
    ['deep JSON', `${'['.repeat(4000)}\n`],
    ['two requests at once', `${status}${status}`],
  ])('(%s) gets an error in JSON, and the next caller an answer', async (_, bytes) => {
    await take();
    expect(JSON.parse(await say(bytes))).toEqual({ error: 'unknown request' });
    expect(await say(status)).toBe('{"ok":true}\n');
  });

  test('is cut off where it does not end', async () => {
    await take();
    expect(await say('x'.repeat(1_000_000))).toBe('');
    expect(await say(status)).toBe('{"ok":true}\n');
  });

  test('does no harm where its caller leaves at once', async () => {
    await take();
    for (let times = 0; times < 20; times += 1) {
      const socket = connect(socketPath());
      await once(socket, 'connect');
      socket.write(status);
      socket.resetAndDestroy();
    }
    expect(await say(status)).toBe('{"ok":true}\n');
  });

  test('a status that fails is no crash', async () => {
    await take(() => {
      throw new Error('no status');
    });
    expect(JSON.parse(await say(status))).toHaveProperty('error');
  });
});

describe('the lock', () => {
  test('refuses a second agent, in this process or in another, and names the directory', async () => {
    await take();
    expect((await start()).said).toBe('refused CONFIG_INVALID');
    const error = await caught(takeControl(dir(), () => null));
    expect([error.code, error.retry]).toEqual(['CONFIG_INVALID', 'exit']);
    expect(error.message).toContain(dir());
    expect(error.hint).toBeString();
    expect(await say(status)).toBe('{"ok":true}\n');
    expect(await readdir(dir())).toEqual(['agent.sock']);
  });

  test('refuses while another process holds it', async () => {
    const { child, said } = await start();
    expect(said).toBe(`held ${child.pid}`);
    expect((await caught(takeControl(dir(), () => null))).code).toBe('CONFIG_INVALID');
    expect(JSON.parse(await say(status))).toEqual({ pid: child.pid });
  });

  test('is taken over from an agent that was killed', async () => {
    const { child } = await start();
    await kill(child);
    expect(await exists(socketPath())).toBe(true);
    await take();
    expect(await say(status)).toBe('{"ok":true}\n');
    expect(await readdir(dir())).toEqual(['agent.sock']);
  });

  test('does not need a name longer than agent.sock, which the configuration allows 107 bytes', async () => {
    const name = 'd'.repeat(107 - Buffer.byteLength(join(dir(), 'x', 'agent.sock')) + 1);
    const deep = join(dir(), name);
    await mkdir(deep);
    expect(Buffer.byteLength(join(deep, 'agent.sock'))).toBe(107);
    const control = await takeControl(deep, () => ({ ok: true }));
    controls.add(control);
    expect((await caught(takeControl(deep, () => null))).code).toBe('CONFIG_INVALID');
    expect(await say(status, join(deep, 'agent.sock'))).toBe('{"ok":true}\n');
  });

  test('goes to exactly one of those that start at once', async () => {
    const starters = await startAtOnce(5);
    expect(starters.map(({ said }) => said.split(' ')[0]).sort()).toEqual([
      'held',
      ...Array.from({ length: 4 }, () => 'refused'),
    ]);
    const winner = starters.find(({ said }) => said.startsWith('held'));
    expect(JSON.parse(await say(status))).toEqual({ pid: winner?.child.pid });
  }, 20_000);

  test('goes to exactly one of those that start at once over the socket of a killed agent', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { child } = await start();
      await kill(child);
      const starters = await startAtOnce(5);
      const winners = starters.filter(({ said }) => said.startsWith('held'));
      expect(winners.length).toBe(1);
      expect(JSON.parse(await say(status))).toEqual({ pid: winners[0]?.child.pid });
      for (const starter of starters) await kill(starter.child);
    }
  }, 30_000);
});
