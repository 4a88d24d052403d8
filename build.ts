/**
 * Builds the executables, the publisher Lambda and its template, the JSON Schema and the checksums into dist/.
 *
 *   bun run build [--target linux-x64]... [--outdir DIR] [--cachedir DIR]
 *
 * Bun downloads the runtime of a foreign target without checking it, so that path is never taken: each
 * runtime comes from npm through the user's own registry settings and must have the digest written here.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import pkg from './package.json' with { type: 'json' };
import { archiveName, packageFunctions, templateName } from './src/cloud/package.ts';
import { configJsonSchema } from './src/config.ts';

const PROJECT = import.meta.dirname;
const PINNED_BUN = pkg.packageManager.slice('bun@'.length);
const SCHEMA_NAME = 'agent.schema.json';
const CACHE = join(PROJECT, 'node_modules/.cache/shadow-agent');

/** The targets of a release, in the order in which they are built. */
export const TARGETS = ['linux-arm64', 'linux-x64', 'linux-arm64-musl', 'linux-x64-musl'] as const;
/** A Mac builds only for itself, to play the demo; these are never released. */
const DARWIN_TARGETS = ['darwin-arm64', 'darwin-x64'] as const;

type LinuxTarget = (typeof TARGETS)[number];
export type Target = LinuxTarget | (typeof DARWIN_TARGETS)[number];

/** SHA-256 of bin/bun in the npm package of each target, at the version that package.json pins: a new pin needs four. */
const RUNTIME_SHA256: Record<LinuxTarget, string> = {
  'linux-arm64': '04778f1f42399a69d086853e9c7af4acf574b2f21a43d0dc673853d8b84a2923',
  'linux-x64': 'f05d28a3862f4b84395c7fa32480b835dd47482e80b7e7a49a115227f0c06083',
  'linux-arm64-musl': '9c48986093073afec8b76a3e285303598dd2462f52748aecb65e4d94866e1ea3',
  'linux-x64-musl': 'cf5d285ddbe256785a5121a3c113191a6b577504976374c7cfd5aedca609b720',
};

interface Runtime {
  npmPackage: string;
  sha256: string;
}

/** A reason for which nothing was built, with what to do. `exitCode` is 64 for a wrong command line. */
export class BuildError extends Error {
  override readonly name = 'BuildError';
  readonly hint: string;
  readonly exitCode: 1 | 64;
  constructor(message: string, hint: string, exitCode: 1 | 64 = 1) {
    super(message);
    this.hint = hint;
    this.exitCode = exitCode;
  }
}

export interface BuildOptions {
  /** The program's first module; src/main.ts unless told. */
  entry?: string;
  /** Where verified runtimes are kept. */
  cacheDir?: string;
}

export interface Built {
  target: Target;
  path: string;
  bytes: number;
  runtimeBytes: number;
  sha256: string;
  seconds: number;
}

/**
 * The target that runs on this machine. `maps` is this process's /proc/self/maps: the running Bun has
 * mapped the C library that works here, while files in /lib may belong to another one.
 * @throws BuildError where no target fits.
 */
export function hostTarget(
  platform: string = process.platform,
  arch: string = process.arch,
  maps: string = platform === 'linux' ? readFileSync('/proc/self/maps', 'utf8') : '',
): Target {
  const name = `${platform}-${arch}${maps.includes('/ld-musl-') ? '-musl' : ''}`;
  const target = [...TARGETS, ...DARWIN_TARGETS].find((known) => known === name);
  if (target) return target;
  throw new BuildError(
    `Cannot build for this machine: no target ${name}`,
    'use 64-bit Linux (on Windows: WSL) or macOS',
  );
}

/**
 * Builds `<outdir>/shadow-agent-<target>`; the same sources and target give the same bytes. Beside it goes the source
 * map, `.map`, by which a stack names file and line: in the executable it would be a quarter of what is ours.
 * @throws BuildError when the running Bun is not the pinned one, or the runtime is not to be had or not genuine.
 */
export async function buildTarget(
  target: Target,
  outdir: string,
  { entry = join(PROJECT, 'src/main.ts'), cacheDir = CACHE }: BuildOptions = {},
): Promise<Built> {
  const startMs = performance.now();
  assertBunVersion();
  const runtime = await runtimeFor(target, resolve(cacheDir));
  // The name is part of the bytes, so it depends on nothing but the target.
  const path = resolve(outdir, artefactName(target));
  const source = resolve(entry);
  // Whoever runs the one that is there, or builds at the same time, is not disturbed.
  await inScratch(outdir, async (scratch) => {
    const made = resolve(scratch, artefactName(target));
    // Bun makes no map without embedding it, so the program is made once for its map and once without.
    await compile(target, runtime, made, source, '--sourcemap');
    await compile(target, runtime, made, source);
    await rename(`${made}.map`, `${path}.map`);
    await rename(made, path);
  });
  return {
    target,
    path,
    bytes: (await stat(path)).size,
    runtimeBytes: (await stat(runtime)).size,
    sha256: await sha256Of(path),
    seconds: (performance.now() - startMs) / 1000,
  };
}

/**
 * Builds `<outdir>/publisher.zip` and `<outdir>/template.yaml`. AWS's clients are in Lambda's runtime.
 * @throws BuildError when the running Bun is not the pinned one, or the sources do not bundle
 */
export async function buildPublisher(outdir: string): Promise<void> {
  assertBunVersion();
  await packageFunctions(outdir, async (outfile, options) => {
    const args = ['build', '--target=node', '--external=@aws-sdk/*', `--outfile=${outfile}`, ...options];
    const failure = await runBun([...args, join(PROJECT, 'src/cloud/lambda.ts')], PROJECT);
    if (failure !== undefined)
      throw new BuildError(`Cannot bundle the publisher: ${failure}`, 'bun run check');
  });
}

/** @throws BuildError unless `running` is the Bun that package.json pins: another one gives other bytes. */
export function assertBunVersion(running: string = Bun.version): void {
  if (running === PINNED_BUN) return;
  throw new BuildError(
    `Cannot build with Bun ${running}: package.json pins ${PINNED_BUN}`,
    `run npx bun@${PINNED_BUN} run build`,
  );
}

function artefactName(target: Target): string {
  return `shadow-agent-${target}`;
}

/**
 * Compiles in a process of its own: a map's paths are relative to the working directory and NODE_ENV is written
 * into the bundle, so both are fixed here whoever calls.
 */
async function compile(target: Target, runtime: string, outfile: string, ...more: string[]): Promise<void> {
  const args = ['build', '--compile', '--production', '--minify', ...more];
  args.push('--no-compile-autoload-dotenv', '--no-compile-autoload-bunfig');
  args.push('--no-compile-autoload-tsconfig', '--no-compile-autoload-package-json');
  args.push(`--target=bun-${target}`, `--compile-executable-path=${runtime}`, `--outfile=${outfile}`);
  const failure = await runBun(args, PROJECT);
  if (failure === undefined) return;
  throw new BuildError(`Cannot compile for ${target}: ${failure}`, 'bun run check');
}

/** The path of a genuine runtime for `target`: the running Bun where it is that one, else the one from npm. */
async function runtimeFor(target: Target, cacheDir: string): Promise<string> {
  if (target === 'darwin-arm64' || target === 'darwin-x64') {
    if (target === hostTarget()) return process.execPath;
    throw new BuildError(`Cannot build for ${target} here`, 'build it on a Mac of that kind');
  }
  const npmPackage = `@oven/bun-${target.replace('arm64', 'aarch64')}`;
  const runtime = { npmPackage, sha256: RUNTIME_SHA256[target] };
  if ((await sha256Of(process.execPath)) === runtime.sha256) return process.execPath;
  const cached = join(cacheDir, `${runtime.npmPackage.slice('@oven/'.length)}-${PINNED_BUN}`);
  if (!existsSync(cached)) await fetchRuntime(runtime, cacheDir, cached);
  await assertGenuine(cached, runtime, `rm ${cached}, find out who changed it, then build again`);
  return cached;
}

/** Installs the runtime's npm package in a scratch project; only a genuine one gets its name in the cache. */
async function fetchRuntime(runtime: Runtime, cacheDir: string, cached: string): Promise<void> {
  await inScratch(cacheDir, async (scratch) => {
    const manifest = { private: true, dependencies: { [runtime.npmPackage]: PINNED_BUN } };
    await writeFile(join(scratch, 'package.json'), JSON.stringify(manifest));
    // copyfile: a hard link would leave the cached file at the mercy of Bun's own install cache.
    const args = ['install', '--no-save', '--ignore-scripts', '--no-progress', '--backend=copyfile'];
    args.push('--os=*', '--cpu=*', '--libc=*');
    const failure = await runBun(args, scratch);
    const fetched = join(scratch, 'node_modules', runtime.npmPackage, 'bin/bun');
    if (failure !== undefined || !existsSync(fetched)) {
      throw new BuildError(
        `Cannot fetch ${runtime.npmPackage}@${PINNED_BUN}: ${failure ?? 'the package has no bin/bun'}`,
        'check the network and the registry in .npmrc or .bunfig.toml of your home directory',
      );
    }
    await assertGenuine(fetched, runtime, 'do not trust this registry; bun pm cache rm, then try another');
    await rename(fetched, cached);
  });
}

/** Works in a directory of its own below another one, from which results can be renamed into place. */
async function inScratch(parent: string, work: (scratch: string) => Promise<void>): Promise<void> {
  await mkdir(parent, { recursive: true });
  const scratch = await mkdtemp(join(parent, '.scratch-'));
  try {
    await work(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** @throws BuildError unless the file has the runtime's digest. */
async function assertGenuine(path: string, runtime: Runtime, hint: string): Promise<void> {
  const actual = await sha256Of(path);
  if (actual === runtime.sha256) return;
  throw new BuildError(
    `Refused the runtime ${runtime.npmPackage}@${PINNED_BUN}: SHA-256 is ${actual}, not ${runtime.sha256}`,
    hint,
  );
}

/** Runs this Bun quietly. Undefined when it succeeds, else the last lines of what it said. */
function runBun(args: string[], cwd: string): Promise<string | undefined> {
  const env = { ...process.env, NODE_ENV: 'production' };
  return new Promise((settle) => {
    execFile(process.execPath, args, { cwd, env }, (error, _stdout, stderr) => {
      settle(error ? stderr.trim().split('\n').slice(-5).join('\n') || error.message : undefined);
    });
  });
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

/** Lists, for `sha256sum -c`, every artefact of ours that is in `outdir`, those of earlier runs too. */
async function writeSums(outdir: string): Promise<void> {
  const all = [...TARGETS.map(artefactName), archiveName, templateName, SCHEMA_NAME];
  const names = all.filter((name) => existsSync(join(outdir, name))).sort();
  const lines = await Promise.all(
    names.map(async (name) => `${await sha256Of(join(outdir, name))}  ${name}\n`),
  );
  await writeFile(join(outdir, 'SHA256SUMS'), lines.join(''));
}

function tableOf(built: Built[]): string {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  const rows = [['target', 'size', 'over Bun', 'sha256', 'time']];
  for (const { target, bytes, runtimeBytes, sha256, seconds } of built) {
    const over = `+${megabytes(bytes - runtimeBytes)}`;
    rows.push([target, megabytes(bytes), over, sha256.slice(0, 12), `${seconds.toFixed(1)} s`]);
  }
  const line = (row: string[]): string => row.map((cell) => cell.padEnd(18)).join('');
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('');
}

function parseFlags(argv: string[]): { target?: string[]; outdir?: string; cachedir?: string } {
  try {
    const text = { type: 'string' } as const;
    return parseArgs({
      args: argv,
      options: { target: { type: 'string', multiple: true }, outdir: text, cachedir: text },
    }).values;
  } catch (error) {
    const usage = 'bun run build [--target TARGET]... [--outdir DIR] [--cachedir DIR]';
    throw new BuildError(error instanceof Error ? error.message : String(error), usage, 64);
  }
}

function parseTarget(name: string): LinuxTarget {
  const target = TARGETS.find((known) => known === name);
  if (target) return target;
  throw new BuildError(`Unknown target "${name}"`, `one of ${TARGETS.join(', ')}`, 64);
}

async function main(argv: string[]): Promise<void> {
  const { target = TARGETS, outdir = join(PROJECT, 'dist'), cachedir: cacheDir = CACHE } = parseFlags(argv);
  const targets = new Set(target.map(parseTarget));
  const built: Built[] = [];
  for (const target of targets) built.push(await buildTarget(target, outdir, { cacheDir }));
  await buildPublisher(outdir);
  await writeFile(join(outdir, SCHEMA_NAME), `${JSON.stringify(configJsonSchema(), null, 2)}\n`);
  await writeSums(outdir);
  process.stdout.write(tableOf(built));
}

if (import.meta.main) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    const hint = error instanceof BuildError ? `hint: ${error.hint}\n` : '';
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n${hint}`);
    process.exitCode = error instanceof BuildError ? error.exitCode : 1;
  }
}
