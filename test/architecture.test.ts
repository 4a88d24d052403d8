/** Reads the sources and holds the rules of the house: which way imports run, and who may do what. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { builtinModules } from 'node:module';
import { join, normalize } from 'node:path';
import { Glob } from 'bun';

const root = join(import.meta.dir, '..');

interface Import {
  specifier: string;
  typeOnly: boolean;
}

interface Source {
  path: string;
  text: string;
  /** Without comments. */
  code: string;
  /** Without comments and without what stands in quotes; the expressions of templates stay. */
  bare: string;
  imports: Import[];
}

const lexeme = new RegExp(
  [
    String.raw`(?<comment>\/\/[^\n]*|\/\*[\s\S]*?\*\/)`,
    String.raw`(?<text>'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")`,
    String.raw`(?<template>\`(?:\\[\s\S]|[^\\\`])*\`)`,
    String.raw`(?<regex>(?<=(?:^|[(,=:[!&|?{};+]|\breturn)\s*)\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*)`,
  ].join('|'),
  'gm',
);

function strip(text: string, drop: 'comments' | 'quotes too'): string {
  return text.replace(lexeme, (whole: string, ...rest: unknown[]) => {
    const { comment, template } = rest.at(-1) as Record<string, string | undefined>;
    if (comment !== undefined) return ' ';
    if (drop === 'comments') return whole;
    if (template === undefined) return "''";
    return [...template.matchAll(/\$\{([^}]*)\}/g)].map(([, inner]) => `(${inner})`).join(' ') || "''";
  });
}

/** Imports and re-exports of a text without comments. */
function importsOf(code: string): Import[] {
  const statement = /^\s*(?:import|export)\b(?<clause>[^;'"()]*?)\bfrom\s*['"](?<specifier>[^'"]+)['"]/gm;
  const found = [...code.matchAll(statement)].map(({ groups }) => ({
    specifier: groups?.['specifier'] ?? '',
    typeOnly: isTypeOnly(groups?.['clause'] ?? ''),
  }));
  const others = /\bimport\s*\(\s*(?:['"](?<dynamic>[^'"]+)['"])?|^\s*import\s*['"](?<bare>[^'"]+)['"]/gm;
  const more = [...code.matchAll(others)].map(({ groups }) => ({
    specifier: groups?.['dynamic'] ?? groups?.['bare'] ?? 'computed',
    typeOnly: false,
  }));
  return [...found, ...more];
}

function isTypeOnly(clause: string): boolean {
  if (/^\s*type\b/.test(clause)) return true;
  const names = /^\s*\{(?<names>[^}]*)\}\s*$/.exec(clause)?.groups?.['names'];
  const each = names?.split(',').filter((name) => name.trim() !== '') ?? [];
  return each.length > 0 && each.every((name) => /^\s*type\b/.test(name));
}

function sourceOf(path: string, text: string): Source {
  const code = strip(text, 'comments');
  return { path, text, code, bare: strip(text, 'quotes too'), imports: importsOf(code) };
}

const layers = ['main', 'cli', 'config', 'agent', 'io', 'core', 'sandbox', 'cloud'] as const;
type Layer = (typeof layers)[number];

/** What each layer may import beside packages; `config` of the agent layer is for types only. */
const mayImport: Record<Layer, readonly Layer[]> = {
  main: ['cli', 'config', 'agent'],
  cli: ['cli', 'config', 'core'],
  config: ['config', 'io', 'core'],
  agent: ['agent', 'config', 'io', 'core'],
  io: ['io', 'core'],
  core: ['core'],
  sandbox: ['sandbox', 'cloud', 'core'],
  cloud: ['cloud', 'core'],
};

/** The layer of a file; undefined outside of src. */
function layerOf(path: string): Layer | undefined {
  const [top, second] = path.split('/');
  if (top !== 'src' || second === undefined) return undefined;
  const folder = layers.find((layer) => layer === second);
  if (folder !== undefined) return folder;
  if (second === 'main.ts') return 'main';
  if (second === 'cli.ts') return 'cli';
  return second === 'config.ts' ? 'config' : 'agent';
}

const isRelative = (specifier: string) => /^[./]/.test(specifier);
const packageOf = (specifier: string) => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
const isOfAgent = ({ path }: Source) => !['sandbox', 'cloud'].includes(layerOf(path) ?? '');

/** Imports that run the wrong way, as `importer -> imported`. */
function wrongWays(sources: readonly Source[]): string[] {
  return sources.flatMap(({ path, imports }) => {
    const layer = layerOf(path);
    return imports
      .filter(({ specifier, typeOnly }) => {
        if (specifier === 'computed') return true;
        if (!isRelative(specifier)) return false;
        const target = normalize(join(path, '..', specifier));
        // The demo builds what it shows.
        if (target === 'build.ts') return layer !== 'sandbox';
        // The version of the package is shown by the command line.
        if (target === 'package.json') return layer !== 'cli';
        const imported = layerOf(target);
        if (layer === undefined || imported === undefined || !mayImport[layer].includes(imported))
          return true;
        return layer === 'agent' && imported === 'config' && !typeOnly;
      })
      .map(({ specifier }) => `${path} -> ${specifier}`);
  });
}

/** The files that import a package, types too. */
function importersOf(name: string, sources: readonly Source[]): string[] {
  const imports = (source: Source) =>
    source.imports.some(({ specifier }) => !isRelative(specifier) && packageOf(specifier) === name);
  return sources.filter(imports).map(({ path }) => path);
}

/** Lines that match, as `path:line: text`. */
function linesOf(sources: readonly Source[], part: 'text' | 'code' | 'bare', pattern: RegExp): string[] {
  return sources.flatMap((source) =>
    source[part]
      .split('\n')
      .flatMap((line) => (pattern.test(line) ? [`${source.path}: ${line.trim()}`] : [])),
  );
}

const anyType = /(?<![.\w$])any(?![\w$]|\s*\()/;
const runtimeName = /\b(?:Bun|Deno)\b|\bbun:/;
const exitCall = /\bprocess\s*(?:\?\.|\.)\s*exit\b/;
const impure =
  /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bperformance\b|\bset(?:Timeout|Interval|Immediate)\b|\bfetch\(|\basync\b|\bawait\b|\bPromise\b|\bprocess\b|\bcrypto\b|\bconsole\b/;

let sources: Source[] = [];
let agentSources: Source[] = [];
let pkg: { dependencies: Record<string, string> };

beforeAll(async () => {
  const paths = [...new Glob('src/**/*.ts').scanSync(root)].sort();
  sources = await Promise.all(
    paths.map(async (path) => sourceOf(path, await readFile(join(root, path), 'utf8'))),
  );
  agentSources = sources.filter(isOfAgent);
  pkg = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
});

describe('the scan', () => {
  const wrong = (path: string, text: string) => wrongWays([sourceOf(path, text)]);

  test('reads the sources that are there', () => {
    const found = sources.map(({ path }) => path);
    for (const path of ['src/main.ts', 'src/agent.ts', 'src/core/reconcile.ts', 'src/io/s3.ts']) {
      expect(found).toContain(path);
    }
    expect(sources.flatMap(({ imports }) => imports).length).toBeGreaterThan(200);
  });

  test('finds every form of import, and knows which are of types only', () => {
    const text = `
      import a from './a.ts';
      import * as b from "./b.ts";
      import {
        c,
        type C,
      } from './c.ts';
      import type { D } from './d.ts';
      import { type E, type F } from './e.ts';
      export { f } from './f.ts';
      export * from './g.ts';
      export type { H } from './h.ts';
      import './i.ts';
      const j = await import('./j.ts');
      const k: import('./k.ts').K = import(name);
      // import l from './l.ts';
      /* import m from './m.ts'; */
      const n = 'import n from ./n.ts';
    `;
    const { imports } = sourceOf('src/x.ts', text);
    const names = (typeOnly: boolean) =>
      imports.filter((each) => each.typeOnly === typeOnly).map(({ specifier }) => specifier);
    expect(names(true)).toEqual(['./d.ts', './e.ts', './h.ts']);
    expect(names(false)).toEqual(
      ['a', 'b', 'c', 'f', 'g', 'i', 'j', 'k'].map((name) => `./${name}.ts`).concat('computed'),
    );
  });

  test('tells code from comments and quotes', () => {
    const text = [
      'const a = /["\'`/]/.test(x); // Bun in a comment',
      '/* any */ const b = "any"; const c = `any $' + '{Bun.version} \\` any`;',
      "const d = 'it\\'s // no comment'; const e = 1 / 2; const f = x / y; const z = process.exit;",
    ].join('\n');
    const { bare, code } = sourceOf('src/x.ts', text);
    expect(bare).not.toMatch(anyType);
    expect(bare).toContain('Bun.version');
    expect(bare).toContain('process.exit');
    expect(code).not.toContain('in a comment');
    expect(code).toContain('no comment');
  });

  test.each([
    ['src/main.ts', './core/errors.ts'],
    ['src/main.ts', './io/s3.ts'],
    ['src/cli.ts', './agent.ts'],
    ['src/cli.ts', './io/disk.ts'],
    ['src/config/keys.ts', '../cli.ts'],
    ['src/config.ts', './agent.ts'],
    ['src/agent.ts', './cli.ts'],
    ['src/agent.ts', './config.ts'],
    ['src/agent.ts', './sandbox/broker.ts'],
    ['src/update.ts', './main.ts'],
    ['src/commands/status.ts', '../cli.ts'],
    ['src/cli/help.ts', '../agent.ts'],
    ['src/io/s3.ts', '../agent.ts'],
    ['src/io/s3.ts', '../config.ts'],
    ['src/io/s3.ts', '../sandbox/pki.ts'],
    ['src/io/s3.ts', '../cloud/publisher.ts'],
    ['src/core/shadow.ts', '../io/clock.ts'],
    ['src/core/shadow.ts', '../../package.json'],
    ['src/sandbox/s3/server.ts', '../../io/s3.ts'],
    ['src/sandbox/main.ts', '../agent.ts'],
    ['src/sandbox/main.ts', '../config.ts'],
    ['src/cloud/publisher.ts', '../io/s3.ts'],
    ['src/cloud/publisher.ts', '../sandbox/broker.ts'],
    ['src/io/s3.ts', '../../test/support/x.ts'],
  ])('%s must not import %s', (path, specifier) => {
    expect(wrong(path, `import { x } from '${specifier}';`)).toEqual([`${path} -> ${specifier}`]);
  });

  test.each([
    ['src/main.ts', "import { x } from './agent.ts'"],
    ['src/agent.ts', "import type { AgentConfig } from './config.ts'"],
    ['src/agent.ts', "import { type AgentConfig } from './config.ts'"],
    ['src/agent.ts', "import { x } from './file.ts'"],
    ['src/file.ts', "import { x } from './io/s3.ts'"],
    ['src/io/s3.ts', "import { x } from '../core/json.ts'"],
    ['src/sandbox/main.ts', "import { x } from '../cloud/publisher.ts'"],
    ['src/sandbox/s3/server.ts', "import { x } from '../../core/json.ts'"],
  ])('%s may have: %s', (path, text) => {
    expect(wrong(path, text)).toEqual([]);
  });

  test.each([
    'let x: any;',
    'f<any>()',
    'x as any',
    '(x: any) => 1',
    'any[]',
    'Array<any>',
    'let x: any = 1',
  ])('%s names the type', (text) => {
    expect(sourceOf('src/x.ts', text).bare).toMatch(anyType);
  });

  test.each(['AbortSignal.any([a])', 'const many = 1', '// any', "'any'", 'anything', 'Promise.any(x)'])(
    '%s does not',
    (text) => {
      expect(sourceOf('src/x.ts', text).bare).not.toMatch(anyType);
    },
  );
});

describe('imports', () => {
  test('run one way: main to cli, config and agent; these to io and core; sandbox and cloud to core only', () => {
    expect(wrongWays(sources)).toEqual([]);
  });

  test('core takes no package but valibot, and nothing of the runtime', () => {
    const packages = sources
      .filter(({ path }) => layerOf(path) === 'core')
      .flatMap(({ imports }) => imports.filter(({ specifier }) => !isRelative(specifier)));
    expect([...new Set(packages.map(({ specifier }) => specifier))]).toEqual(['valibot']);
  });

  test('each package that does something has one importer in the agent', () => {
    expect(importersOf('mqtt', agentSources)).toEqual(['src/io/mqtt.ts']);
    expect(importersOf('aws4fetch', agentSources)).toEqual(['src/io/s3.ts']);
    expect(importersOf('@noble/hashes', agentSources)).toEqual(['src/io/digest.ts']);
    expect(importersOf('@logtape/logtape', agentSources)).toEqual(['src/io/log.ts']);
  });

  test('cac is for the command line only', () => {
    expect(importersOf('cac', sources)).toEqual(['src/cli.ts']);
  });

  test('the agent takes no package that is there for development', () => {
    const packages = new Set(
      agentSources
        .flatMap(({ imports }) => imports.map(({ specifier }) => specifier))
        .filter((specifier) => !isRelative(specifier) && !specifier.startsWith('node:'))
        .map(packageOf),
    );
    expect([...packages].filter((name) => !Object.hasOwn(pkg.dependencies, name))).toEqual([]);
  });

  test('what the runtime brings is imported by its node: name', () => {
    const wrong = sources.flatMap(({ path, imports }) =>
      imports
        .filter(({ specifier }) => builtinModules.includes(specifier.split('/')[0] ?? ''))
        .filter(({ specifier }) => !specifier.startsWith('node:'))
        .map(({ specifier }) => `${path} -> ${specifier}`),
    );
    expect(wrong).toEqual([]);
    expect(linesOf(sources, 'bare', /(?<![.\w])require\s*\(/)).toEqual([]);
  });
});

describe('the sources', () => {
  test('name a runtime in src/io/runtime.ts only, as far as the agent goes', () => {
    const others = agentSources.filter(({ path }) => path !== 'src/io/runtime.ts');
    expect(linesOf(others, 'code', runtimeName)).toEqual([]);
  });

  test('end the process in src/main.ts only', () => {
    const callers = sources.filter(({ bare }) => exitCall.test(bare)).map(({ path }) => path);
    expect(callers).toEqual(['src/main.ts']);
  });

  test('have no clock, random, network, disk or waiting in core', () => {
    expect(
      linesOf(
        sources.filter(({ path }) => layerOf(path) === 'core'),
        'bare',
        impure,
      ),
    ).toEqual([]);
  });

  test('are files of at most 300 lines', () => {
    const long = sources
      .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
      .filter(({ lines }) => lines > 300)
      .map(({ path, lines }) => `${path}: ${lines} lines`);
    expect(long).toEqual([]);
  });

  test('do not escape the types', () => {
    expect(linesOf(sources, 'bare', anyType)).toEqual([]);
    expect(linesOf(sources, 'bare', /\bas\s+unknown\s+as\b/)).toEqual([]);
    expect(linesOf(sources, 'text', /@ts-(?:ignore|expect-error|nocheck|check)\b/)).toEqual([]);
  });
});
