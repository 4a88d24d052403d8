import { describe, expect, test } from 'bun:test';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, statSync } from 'node:fs';
import {
  chmod,
  chown,
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type InstallJob, inspect, install } from '../../src/io/install.ts';
import { Part, partPath } from '../../src/io/part.ts';
import { caught, exists, sha256Of, useTempDir } from '../support/io-helpers.ts';
import { root, toolTest } from '../support/tools.ts';

const dir = useTempDir();
const never = new AbortController().signal;

function target(): string {
  return join(dir(), 'app.bin');
}

function previous(): string {
  return join(dir(), 'state', 'previous', '0123456789abcdef');
}

async function stage(text: string | Uint8Array, at = target()): Promise<Part> {
  const part = await Part.open(partPath('s3', at, sha256Of(text)), 'native', never);
  await part.append(Buffer.from(text));
  return part;
}

async function put(text: string | Uint8Array, options: Partial<Omit<InstallJob, 'part'>> = {}) {
  const { target: at = target() } = options;
  const job = { target: at, mode: undefined, owner: undefined, previousPath: undefined, ...options };
  return install({ ...job, part: await stage(text, at) });
}

async function modeOf(path: string): Promise<number> {
  return (await stat(path)).mode & 0o7777;
}

describe('an install', () => {
  test('puts the new file in place, and leaves nothing else', async () => {
    const stamp = await put('new', { previousPath: previous() });
    expect(await readFile(target(), 'utf8')).toBe('new');
    expect(await readdir(dir())).toEqual(['app.bin']);
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(target(), { bigint: true });
    expect(stamp).toEqual({
      dev: `${dev}`,
      ino: `${ino}`,
      size: `${size}`,
      mtimeNs: `${mtimeNs}`,
      ctimeNs: `${ctimeNs}`,
    });
  });

  test('closes the part, done or failed', async () => {
    const part = await stage('new');
    await install({ part, target: target(), mode: undefined, owner: undefined, previousPath: undefined });
    await expect(part.handle.stat()).rejects.toThrow();
    const bad = await stage('newer');
    await caught(
      install({ part: bad, target: dir(), mode: undefined, owner: undefined, previousPath: undefined }),
    );
    await expect(bad.handle.stat()).rejects.toThrow();
  });

  toolTest([root], 'says whom a file would have to be given to', async () => {
    await writeFile(target(), 'old');
    await chown(dir(), 65534, 65534);
    process.setegid?.(65534);
    process.seteuid?.(65534);
    try {
      expect(await caught(put('new'))).toMatchObject({
        code: 'INSTALL',
        message:
          'Cannot give the file to 0:0, which the present one belongs to: the agent runs as 65534:65534',
        hint: `chown 65534:65534 ${target()}, or run the agent as root`,
      });
      expect(await caught(put('new', { owner: { uid: 1, gid: 1 } }))).toMatchObject({
        hint: 'set "owner": "65534:65534", or run the agent as root',
      });
    } finally {
      process.seteuid?.(0);
      process.setegid?.(0);
    }
    expect(await readFile(target(), 'utf8')).toBe('old');
  });

  test('takes a target that runs', async () => {
    await copyFile('/bin/sleep', target());
    await chmod(target(), 0o755);
    const child = spawn(target(), ['60']);
    await once(child, 'spawn');
    try {
      await put('new');
      expect(await readFile(target(), 'utf8')).toBe('new');
      expect(child.exitCode).toBeNull();
    } finally {
      child.kill();
      await once(child, 'exit');
    }
  });

  test('replaces a symbolic link and does not follow it', async () => {
    const victim = join(dir(), 'victim');
    await writeFile(victim, 'precious', { mode: 0o600 });
    await symlink(victim, target());
    await put('new', { previousPath: previous() });
    expect((await lstat(target())).isFile()).toBe(true);
    expect(await readFile(victim, 'utf8')).toBe('precious');
    expect(await modeOf(target())).toBe(0o644);
    expect(await exists(previous())).toBe(false);
  });

  test('refuses a directory, which stays with all that is in it', async () => {
    await mkdir(target());
    await writeFile(join(target(), 'inside'), 'precious');
    const error = await caught(put('new'));
    expect([error.code, error.retry]).toEqual(['INSTALL', 'slow']);
    expect(error.message).toContain(target());
    expect(error.hint).toBeString();
    expect(await readFile(join(target(), 'inside'), 'utf8')).toBe('precious');
    expect(await exists(partPath('s3', target(), sha256Of('new')))).toBe(true);
  });

  test('never leaves a moment without the target, or with a part of it', async () => {
    const texts = ['a', 'b'].map((char) => char.repeat(200_000));
    await put(texts[0] ?? '', { previousPath: previous() });
    const reader = spawn(process.execPath, [
      '-e',
      `const { readFileSync } = require('node:fs');
       const seen = {};
       process.on('SIGTERM', () => { console.log(JSON.stringify(seen)); process.exit(0); });
       console.log('ready');
       setInterval(() => {
         for (let turn = 0; turn < 200; turn += 1) {
           let text;
           try { text = readFileSync(${JSON.stringify(target())}, 'latin1'); } catch (error) { text = error.code; }
           const whole = text.length === 200000 && /^(a+|b+)$/.test(text);
           const key = whole ? text[0] : 'broken: ' + text.length + ' ' + text.slice(0, 20);
           seen[key] = (seen[key] ?? 0) + 1;
         }
       }, 0);`,
    ]);
    let output = '';
    reader.stdout.setEncoding('utf8');
    const ready = once(reader.stdout, 'data');
    reader.stdout.on('data', (chunk: string) => {
      output += chunk;
    });
    await ready;
    for (let turn = 1; turn < 150; turn += 1) {
      await put(texts[turn % 2] ?? '', { previousPath: previous() });
    }
    reader.kill('SIGTERM');
    await once(reader, 'close');
    const seen = JSON.parse(output.split('\n')[1] ?? '');
    expect(Object.keys(seen).sort()).toEqual(['a', 'b']);
  }, 20_000);
});

describe('mode and owner', () => {
  test("are 0644 and the agent's own for a file that was not there", async () => {
    await put('new');
    const { uid, gid } = await stat(target());
    expect(await modeOf(target())).toBe(0o644);
    expect([process.geteuid?.(), process.getegid?.()]).toEqual([uid, gid]);
  });

  test('do not depend on the umask', async () => {
    const before = process.umask(0o077);
    try {
      await put('new', { mode: 0o755 });
      expect(await modeOf(target())).toBe(0o755);
      await put('newer', { target: join(dir(), 'other') });
      expect(await modeOf(join(dir(), 'other'))).toBe(0o644);
    } finally {
      process.umask(before);
    }
  });

  test('stay what the file has, set-user-id bit included', async () => {
    expect(process.geteuid?.()).toBe(0);
    await writeFile(target(), 'old');
    await chown(target(), 1234, 5678);
    await chmod(target(), 0o4751);
    await put('new');
    const { uid, gid } = await stat(target());
    expect([await modeOf(target()), uid, gid]).toEqual([0o4751, 1234, 5678]);
  });

  test('are those of the configuration where it names them', async () => {
    await writeFile(target(), 'old', { mode: 0o600 });
    await put('new', { mode: 0o6755, owner: { uid: 65534, gid: 65534 } });
    const { uid, gid } = await stat(target());
    expect([await modeOf(target()), uid, gid]).toEqual([0o6755, 65534, 65534]);
  });
});

describe('the previous file', () => {
  test('is the old one itself under a second name', async () => {
    await put('one');
    const { ino } = await stat(target());
    const announced: boolean[] = [];
    const announce = async (isKept: boolean) => void announced.push(isKept);
    await put('two', { previousPath: previous(), announce });
    expect(announced).toEqual([true]);
    expect(await readFile(previous(), 'utf8')).toBe('one');
    expect((await stat(previous())).ino).toBe(ino);
    expect(await readdir(join(dir(), 'state', 'previous'))).toEqual([basename(previous())]);
  });

  test('is replaced by the next', async () => {
    await put('one');
    await put('two', { previousPath: previous() });
    await put('three', { previousPath: previous() });
    expect(await readFile(previous(), 'utf8')).toBe('two');
    expect(await readFile(target(), 'utf8')).toBe('three');
    expect(await readdir(join(dir(), 'state', 'previous'))).toEqual([basename(previous())]);
  });

  test('is not made where nothing was', async () => {
    await put('one', { previousPath: previous() });
    expect(await exists(previous())).toBe(false);
  });

  test('is not looked at by other users', async () => {
    await put('one');
    await put('two', { previousPath: previous() });
    expect(await modeOf(join(dir(), 'state', 'previous'))).toBe(0o700);
  });

  test('takes the place of what a killed install has left', async () => {
    await put('one');
    await mkdir(join(dir(), 'state', 'previous'), { recursive: true });
    await writeFile(`${previous()}.new`, 'half');
    await put('two', { previousPath: previous() });
    expect(await readFile(previous(), 'utf8')).toBe('one');
    expect(await readdir(join(dir(), 'state', 'previous'))).toEqual([basename(previous())]);
  });

  test('is kept again where a failed install had kept it already', async () => {
    await put('one');
    await mkdir(join(dir(), 'state', 'previous'), { recursive: true });
    await put('two', { previousPath: previous() });
    const part = await stage('three');
    await rm(part.path);
    await caught(
      install({ part, target: target(), mode: undefined, owner: undefined, previousPath: previous() }),
    );
    expect(await readFile(target(), 'utf8')).toBe('two');
    await put('three', { previousPath: previous() });
    expect(await readFile(previous(), 'utf8')).toBe('two');
    expect(await readFile(target(), 'utf8')).toBe('three');
  });

  test('is a copy, with its mode, where a link cannot be made', async () => {
    const far = await mkdtemp('/dev/shm/shadow-agent-io-');
    try {
      const fileSystems = [(await stat(far)).dev, (await stat(dir())).dev];
      expect(new Set(fileSystems).size).toBe(2);
      await put('one', { mode: 0o755 });
      const { ino } = await stat(target());
      const previousPath = join(far, 'previous', 'x');
      await put('two', { previousPath });
      expect(await readFile(previousPath, 'utf8')).toBe('one');
      expect((await stat(previousPath)).ino).not.toBe(ino);
      expect(await modeOf(previousPath)).toBe(0o755);
      await put('three', { previousPath });
      expect(await readFile(previousPath, 'utf8')).toBe('two');
      expect(await readdir(join(far, 'previous'))).toEqual(['x']);
    } finally {
      await rm(far, { recursive: true, force: true });
    }
  });
});

describe('an install that fails', () => {
  test('leaves the target, and the part for the next attempt', async () => {
    await put('old');
    await writeFile(join(dir(), 'state'), 'a file where the state directory should be');
    const error = await caught(put('new', { previousPath: previous() }));
    expect(error.code).toBe('INSTALL');
    expect(await readFile(target(), 'utf8')).toBe('old');
    const part = await Part.open(partPath('s3', target(), sha256Of('new')), 'native', never);
    expect(part.hex()).toBe(sha256Of('new'));
    await part.close();
  });
});

describe('what happens to the file while it is installed', () => {
  test('is never hidden by the stamp: who writes to it as soon as it is there is found out', async () => {
    for (let round = 0; round < 20; round += 1) {
      const text = `release ${round}`;
      await put(`old ${round}`);
      const { ino } = statSync(target());
      let watching = true;
      const watch = () => {
        if (!watching) return;
        if (statSync(target()).ino === ino) setImmediate(watch);
        else appendFileSync(target(), '!');
      };
      setImmediate(watch);
      const stamp = await put(text);
      await new Promise((resolve) => setTimeout(resolve, 5));
      watching = false;
      const found = await inspect(target(), { sha256: sha256Of(text), stamp }, 'native', never);
      expect(found?.sha256).toBe(sha256Of(`${text}!`));
    }
  });

  test('a part that already has the owner of the target is taken up again', async () => {
    const part = await stage('new');
    await part.handle.chown(1000, 1000);
    await part.handle.chmod(0o444);
    await part.close();
    expect(await caught(Part.open(part.path, 'native', never))).toMatchObject({ code: 'INSTALL' });
    const again = await Part.open(part.path, 'native', never, { uids: [1000] });
    expect(again.length).toBe(3);
    await again.close();
  });

  test('a previous file that cannot be kept leaves a part that the next attempt can use', async () => {
    await put('old', { mode: 0o644 });
    await mkdir(join(dir(), 'state'));
    await writeFile(join(dir(), 'state', 'previous'), 'in the way');
    const failed = await caught(put('new', { mode: 0o400, previousPath: previous() }));
    expect(failed).toMatchObject({ code: 'INSTALL' });
    expect((await stat(partPath('s3', target(), sha256Of('new')))).mode & 0o777).toBe(0o600);
    expect(await readFile(target(), 'utf8')).toBe('old');
  });

  test('a part whose name stands for another file by then is not installed', async () => {
    await put('old');
    const part = await stage('new');
    await rm(part.path);
    await writeFile(join(dir(), 'foreign'), 'foreign');
    await symlink(join(dir(), 'foreign'), part.path);
    const failed = await caught(
      install({ part, target: target(), mode: undefined, owner: undefined, previousPath: undefined }),
    );
    expect(failed).toMatchObject({ code: 'INSTALL' });
    expect((await lstat(target())).isSymbolicLink()).toBe(false);
    expect(await readFile(target(), 'utf8')).toBe('old');
  });
});
