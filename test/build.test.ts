import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { SourceMap } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assertBunVersion, buildTarget, hostTarget, TARGETS } from '../build.ts';
import pkg from '../package.json' with { type: 'json' };
import { readElfNeeds } from './support/elf.ts';

const PROJECT = join(import.meta.dirname, '..');
const HOST = hostTarget();
const FOREIGN = TARGETS.find((target) => target !== HOST && target.endsWith('-musl')) ?? 'linux-x64-musl';
const NPM_NAME = FOREIGN.replace('arm64', 'aarch64').replace('linux', '@oven/bun-linux');
const BUN_VERSION = pkg.packageManager.slice('bun@'.length);
const BUILD_TIMEOUT_MS = 60_000;

/** Prints what a hidden input could have changed. */
const PROBE = `
console.log(JSON.stringify({
  mode: process.env.NODE_ENV,
  preloaded: 'preloaded' in globalThis,
  tls: process.env['NODE_TLS_REJECT_UNAUTHORIZED'] ?? null,
  proxy: process.env['HTTPS_PROXY'] ?? null,
}));
if (process.argv[2] === 'crash') throw new Error('crashed as told');
`;

interface Ran {
  exitCode: number;
  stdout: string;
  stderr: string;
}

function run(file: string, args: string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return new Promise((settle) => {
    const child = execFile(file, args, { cwd, env }, (_error, stdout, stderr) => {
      settle({ exitCode: child.exitCode ?? -1, stdout, stderr });
    });
  });
}

function runBuild(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return run(process.execPath, [join(PROJECT, 'build.ts'), ...args], work, { ...process.env, ...env });
}

/** A directory whose files, where they are read, run code and switch off the checking of certificates. */
async function evilDirectory(): Promise<string> {
  const evil = await mkdtemp(join(work, 'evil-'));
  await writeFile(join(evil, 'bunfig.toml'), 'preload = ["./preload.ts"]\n');
  await writeFile(join(evil, 'preload.ts'), 'Object.assign(globalThis, { preloaded: true });\n');
  await writeFile(
    join(evil, '.env'),
    'NODE_TLS_REJECT_UNAUTHORIZED=0\nHTTPS_PROXY=http://127.0.0.1:9\nNODE_ENV=development\n',
  );
  return evil;
}

const sha256 = async (path: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');

let work: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'shadow-agent-build-'));
});
afterAll(() => rm(work, { recursive: true, force: true }));

describe('the executable', () => {
  let probe: string;
  let entry: string;
  beforeAll(async () => {
    entry = join(work, 'probe.ts');
    await writeFile(entry, PROBE);
    probe = (await buildTarget(HOST, join(work, 'probe'), { entry })).path;
  }, BUILD_TIMEOUT_MS);

  test('reads neither bunfig.toml nor .env in the directory where it starts', async () => {
    const evil = await evilDirectory();
    const asScript = await run(process.execPath, [entry], evil);
    expect(JSON.parse(asScript.stdout)).toEqual({
      mode: 'development',
      preloaded: true,
      tls: '0',
      proxy: 'http://127.0.0.1:9',
    });
    const { stdout } = await run(probe, [], evil);
    expect(JSON.parse(stdout)).toEqual({ mode: 'production', preloaded: false, tls: null, proxy: null });
  });

  test('carries no source map; the one beside it gives file and line of a crash', async () => {
    const { stderr, exitCode } = await run(probe, ['crash'], work);
    expect(stderr).toContain('crashed as told');
    expect(exitCode).toBe(1);
    expect(stderr).not.toContain('probe.ts');
    const [, line, column] = /shadow-agent-[\w-]+:(\d+):(\d+)/.exec(stderr) ?? [];
    const map = new SourceMap(JSON.parse(await readFile(`${probe}.map`, 'utf8')));
    expect(map.findEntry(Number(line) - 1, Number(column) - 1)).toMatchObject({
      originalSource: expect.stringContaining('probe.ts'),
      originalLine: 7,
    });
  });
});

describe('the build of the agent', () => {
  let outdir: string;
  beforeAll(async () => {
    outdir = join(work, 'first');
    await buildTarget(HOST, outdir);
  }, BUILD_TIMEOUT_MS);

  test('gives an executable that prints its version', async () => {
    const { stdout, exitCode } = await run(join(outdir, `shadow-agent-${HOST}`), ['--version'], work);
    expect(stdout).toContain(pkg.version);
    expect(exitCode).toBe(0);
  });

  test(
    'gives the same bytes from another working directory and environment, with checksums and schema',
    async () => {
      const name = `shadow-agent-${HOST}`;
      const again = join(work, 'again');
      await mkdir(again);
      const targets = HOST.startsWith('linux') ? ['--target', HOST] : [];
      const built = await runBuild([...targets, '--outdir', again], { NODE_ENV: 'development' });
      expect(built.stderr).toBe('');
      expect(built.stdout).toMatch(/^target +size +over Bun /);
      expect(built.stdout).toMatch(new RegExp(`\n${HOST} +\\d+\\.\\d MB +\\+\\d\\.\\d MB `));
      expect(await sha256(join(again, name))).toBe(await sha256(join(outdir, name)));
      expect(await sha256(join(again, `${name}.map`))).toBe(await sha256(join(outdir, `${name}.map`)));
      expect((await readdir(again)).sort()).toEqual([
        'SHA256SUMS',
        'agent.schema.json',
        'publisher.zip',
        name,
        `${name}.map`,
        'template.yaml',
      ]);
      expect(await readFile(join(again, 'SHA256SUMS'), 'utf8')).toBe(
        `${await sha256(join(again, 'agent.schema.json'))}  agent.schema.json\n` +
          `${await sha256(join(again, 'publisher.zip'))}  publisher.zip\n` +
          `${await sha256(join(again, name))}  ${name}\n` +
          `${await sha256(join(again, 'template.yaml'))}  template.yaml\n`,
      );
      const { stdout } = await run(join(again, name), ['schema'], work);
      expect(await readFile(join(again, 'agent.schema.json'), 'utf8')).toBe(stdout);
      expect(JSON.parse(stdout)).toMatchObject({ type: 'object' });
    },
    BUILD_TIMEOUT_MS,
  );
});

describe('the build for every Linux', () => {
  let outdir: string;
  beforeAll(async () => {
    outdir = join(work, 'every');
    for (const target of TARGETS) await buildTarget(target, outdir);
  }, BUILD_TIMEOUT_MS);

  test.each(TARGETS)(
    '%s: a second build gives the same bytes',
    async (target) => {
      const again = await buildTarget(target, join(work, 'every-again'));
      expect(again.sha256).toBe(await sha256(join(outdir, `shadow-agent-${target}`)));
    },
    BUILD_TIMEOUT_MS,
  );

  const glibc = ['libc.so.6', 'libdl.so.2', 'libm.so.6', 'libpthread.so.0'];
  test.each([
    ['linux-arm64', ['ld-linux-aarch64.so.1', ...glibc], '2.17'],
    ['linux-x64', ['ld-linux-x86-64.so.2', ...glibc], '2.17'],
    ['linux-arm64-musl', ['libc.musl-aarch64.so.1', 'libstdc++.so.6'], 'none'],
    ['linux-x64-musl', ['libc.musl-x86_64.so.1', 'libstdc++.so.6'], 'none'],
  ])(
    '%s needs of its machine no library but %p, of glibc version %s',
    async (target, libraries, glibcVersion) => {
      const needs = await readElfNeeds(join(outdir, `shadow-agent-${target}`));
      expect(needs.libraries.toSorted()).toEqual(libraries);
      const versions = needs.versions.map((version) => version.replace('GLIBC_', ''));
      expect(versions.toSorted(Bun.semver.order).at(-1) ?? 'none').toBe(glibcVersion);
    },
  );
});

describe('the runtime', () => {
  test('is refused when the cached one was changed', async () => {
    const cache = await mkdtemp(join(work, 'cache-'));
    const cached = join(cache, `${NPM_NAME.slice('@oven/'.length)}-${BUN_VERSION}`);
    await writeFile(cached, 'not the runtime');
    const outdir = join(work, 'refused');
    const { exitCode, stderr } = await runBuild([
      '--target',
      FOREIGN,
      '--outdir',
      outdir,
      '--cachedir',
      cache,
    ]);
    expect(stderr).toStartWith(`error: Refused the runtime ${NPM_NAME}@${BUN_VERSION}: SHA-256 is `);
    expect(stderr).toContain(`\nhint: rm ${cached}`);
    expect(exitCode).toBe(1);
    expect(await stat(outdir).catch(() => 'absent')).toBe('absent');
  });

  test('is refused when the registry gives another one, and never reaches the cache', async () => {
    const cache = await mkdtemp(join(work, 'cache-'));
    await using registry = await fakeRegistry();
    const outdir = join(work, 'refused');
    const { exitCode, stderr } = await runBuild(
      ['--target', FOREIGN, '--outdir', outdir, '--cachedir', cache],
      registry.env,
    );
    expect(stderr).toStartWith(`error: Refused the runtime ${NPM_NAME}@${BUN_VERSION}: SHA-256 is `);
    expect(stderr).toContain('\nhint: do not trust this registry');
    expect(exitCode).toBe(1);
    expect(registry.tarballsSent()).toBe(1);
    expect(await readdir(cache)).toEqual([]);
    expect(await stat(outdir).catch(() => 'absent')).toBe('absent');
  });

  test('that cannot be had is an error with a hint, and no other download is tried', async () => {
    const cache = await mkdtemp(join(work, 'cache-'));
    const registry = await fakeRegistry();
    await registry[Symbol.asyncDispose]();
    const { exitCode, stderr } = await runBuild(
      ['--target', FOREIGN, '--outdir', join(work, 'refused'), '--cachedir', cache],
      registry.env,
    );
    expect(stderr).toStartWith(`error: Cannot fetch ${NPM_NAME}@${BUN_VERSION}: `);
    expect(stderr).toContain('\nhint: check the network and the registry');
    expect(exitCode).toBe(1);
    expect(await readdir(cache)).toEqual([]);
  });
});

describe('the command line', () => {
  test.each([
    [['--target', 'linux-armv7'], 'Unknown target "linux-armv7"'],
    [['--target', 'darwin-arm64'], 'Unknown target "darwin-arm64"'],
    [['--tagret', 'linux-x64'], "Unknown option '--tagret'"],
  ])('%p is refused with exit code 64', async (args, message) => {
    const { exitCode, stdout, stderr } = await runBuild(args);
    expect(stderr).toStartWith(`error: ${message}`);
    expect(stderr).toContain('\nhint: ');
    expect(stdout).toBe('');
    expect(exitCode).toBe(64);
  });
});

test('assertBunVersion() refuses every Bun but the pinned one', () => {
  expect(() => assertBunVersion(BUN_VERSION)).not.toThrow();
  expect(() => assertBunVersion('1.0.0')).toThrow(
    `Cannot build with Bun 1.0.0: package.json pins ${BUN_VERSION}`,
  );
});

test('hostTarget() follows the C library that the running Bun has mapped', () => {
  const musl = '7f00-7f01 r-xp 00000000 08:01 12 /lib/ld-musl-x86_64.so.1\n';
  const glibc = '7f00-7f01 r-xp 00000000 08:01 12 /usr/lib/x86_64-linux-gnu/libc.so.6\n';
  expect(hostTarget('linux', 'x64', glibc)).toBe('linux-x64');
  expect(hostTarget('linux', 'x64', musl)).toBe('linux-x64-musl');
  expect(hostTarget('linux', 'arm64', glibc)).toBe('linux-arm64');
  expect(hostTarget('linux', 'arm64', musl)).toBe('linux-arm64-musl');
  expect(hostTarget('darwin', 'arm64', '')).toBe('darwin-arm64');
  expect(() => hostTarget('win32', 'x64', '')).toThrow('Cannot build for this machine: no target win32-x64');
});

interface FakeRegistry extends AsyncDisposable {
  env: NodeJS.ProcessEnv;
  tarballsSent: () => number;
}

/** A registry on loopback whose package is consistent in itself, with a runtime that is not Bun's. */
async function fakeRegistry(): Promise<FakeRegistry> {
  const home = await mkdtemp(join(work, 'registry-'));
  await mkdir(join(home, 'package/bin'), { recursive: true });
  const manifest = { name: NPM_NAME, version: BUN_VERSION };
  await writeFile(join(home, 'package/package.json'), JSON.stringify(manifest));
  await writeFile(join(home, 'package/bin/bun'), 'not the runtime');
  await run('tar', ['-czf', 'package.tgz', 'package'], home, process.env);
  const tarball = await readFile(join(home, 'package.tgz'));
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;
  let sent = 0;
  const server = createServer((request, response) => {
    if (request.url === '/package.tgz') {
      sent += 1;
      response.end(tarball);
      return;
    }
    const dist = { tarball: `${origin}/package.tgz`, integrity };
    const versions = { [BUN_VERSION]: { ...manifest, dist } };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ name: NPM_NAME, 'dist-tags': { latest: BUN_VERSION }, versions }));
  });
  await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the registry has no port');
  const origin = `http://127.0.0.1:${address.port}`;
  const env = {
    HOME: home,
    NPM_CONFIG_REGISTRY: origin,
    BUN_CONFIG_REGISTRY: origin,
    BUN_INSTALL_CACHE_DIR: join(home, 'cache'),
    NO_PROXY: '127.0.0.1',
  };
  const close = (): Promise<void> => new Promise((settle) => void server.close(() => settle()));
  return { env, tarballsSent: () => sent, [Symbol.asyncDispose]: close };
}
