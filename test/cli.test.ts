import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pkg from '../package.json' with { type: 'json' };
import { commands } from '../src/cli/commands.ts';
import { parseCli } from '../src/cli.ts';
import { configKeys } from '../src/config/keys.ts';
import { configJsonSchema } from '../src/config.ts';

function flagsOf(...argv: string[]) {
  const invocation = parseCli(argv);
  if (invocation.kind !== 'run') throw new Error(JSON.stringify(invocation));
  return invocation.flags;
}

describe('a command line', () => {
  test('without a command runs the agent', () => {
    expect(parseCli(['--thing-name', 'x'])).toEqual({
      kind: 'run',
      once: false,
      flags: { thingName: 'x' },
    });
    expect(parseCli(['--config', 'agent.json', '--once'])).toEqual({
      kind: 'run',
      configPath: 'agent.json',
      once: true,
      flags: {},
    });
  });

  test("may be the sample's own, with underscores or dashes", () => {
    const sample = [
      ['--endpoint', 'abc-ats.iot.us-east-1.amazonaws.com'],
      ['--key', 'private.key'],
      ['--cert', 'certificate.pem'],
      ['--client_id', 'test-thing'],
      ['--ca_file', 'AmazonRootCA1.pem'],
      ['--thing_name', 'test-thing'],
      [
        '--credential_endpoint',
        'https://b.credentials.iot.us-east-1.amazonaws.com/role-aliases/r/credentials',
      ],
      ['--shadow_property', 's3'],
    ];
    const expected = {
      endpoint: 'abc-ats.iot.us-east-1.amazonaws.com',
      key: 'private.key',
      cert: 'certificate.pem',
      clientId: 'test-thing',
      ca: 'AmazonRootCA1.pem',
      thingName: 'test-thing',
      credentialEndpoint: 'https://b.credentials.iot.us-east-1.amazonaws.com/role-aliases/r/credentials',
      'files[].property': 's3',
    };
    expect(flagsOf(...sample.flat())).toEqual(expected);
    expect(flagsOf(...sample.map(([name = '', value]) => `${name.replaceAll('_', '-')}=${value}`))).toEqual(
      expected,
    );
  });

  test('has a flag for every key of the configuration', () => {
    const value = { text: '1', integer: '1', list: '1', boolean: undefined };
    const argv = configKeys.flatMap(({ flag, type }) =>
      [`--${flag}`, value[type]].filter((part) => part !== undefined),
    );
    const flags = flagsOf(...argv);
    expect(Object.keys(flags).sort()).toEqual(configKeys.map(({ path }) => path).sort());
    for (const { path, type } of configKeys) {
      const expected = { text: '1', integer: 1, list: ['1'], boolean: true };
      expect([path, flags[path]]).toEqual([path, expected[type]]);
    }
  });

  test('names its flags by the keys', () => {
    expect(
      flagsOf('--s3-endpoint', 'https://a', '--state-dir', 'd', '--log-level', 'debug', '--path', 'p'),
    ).toEqual({
      's3.endpoint': 'https://a',
      stateDir: 'd',
      'log.level': 'debug',
      'files[].path': 'p',
    });
  });

  test('turns booleans on and off', () => {
    expect(flagsOf('--s3-path-style', '--no-keep-previous')).toEqual({
      's3.pathStyle': true,
      'files[].keepPrevious': false,
    });
    expect(flagsOf('--no-s3-path-style', '--no_s3_dual_stack')).toEqual({
      's3.pathStyle': false,
      's3.dualStack': false,
    });
  });

  test('may repeat --allow', () => {
    expect(flagsOf('--allow', 's3://a/', '--allow=s3://b/=c')).toEqual({
      'files[].allow': ['s3://a/', 's3://b/=c'],
    });
  });

  test.each([
    '00123',
    '1e5',
    '0x1F',
    '12345678901234567890',
    '0.10',
    '-x',
    '-1',
    'true',
    'false',
    'null',
    '=',
    'a=b',
    ' ',
    'Infinity',
  ])('leaves the identifier %j as it is written', (value) => {
    expect(flagsOf(`--thing-name=${value}`, `--client-id=${value}`)).toEqual({
      thingName: value,
      clientId: value,
    });
    if (!value.startsWith('-')) expect(flagsOf('--thing-name', value)).toEqual({ thingName: value });
  });

  test('asks for help, the version or the schema', () => {
    expect(parseCli(['schema'])).toEqual({ kind: 'schema' });
    for (const argv of [['--version'], ['-v'], ['schema', '-v']]) {
      expect(parseCli(argv)).toEqual({ kind: 'version', text: `shadow-agent ${pkg.version}` });
    }
    for (const argv of [['--help'], ['-h'], ['schema', '--help']]) expect(parseCli(argv).kind).toBe('help');
  });

  test('signs with a key and a property, which it needs', () => {
    const argv = ['sign', 'f', '--key', 'k', '--property', '007', '--to', 's3://b/k', '--sequence', '7'];
    const sign = { kind: 'sign', path: 'f', key: 'k', property: '007', to: 's3://b/k', sequence: 7 } as const;
    expect(parseCli(argv)).toEqual(sign);
    expect(parseCli(['keygen', '12'])).toEqual({ kind: 'keygen', path: '12' });
  });

  test('is helped by a text that has every flag, the exit codes and examples', () => {
    const help = parseCli(['--help']);
    const text = help.kind === 'help' ? help.text : '';
    for (const { flag } of configKeys) expect(text).toContain(`--${flag} `);
    for (const part of ['Exit codes:', '  78  ', 'Examples:', '--config <path>', '--ca-file']) {
      expect(text).toContain(part);
    }
  });
});

test.each(commands.filter(({ name }) => name !== ''))(
  'the command $name is helped by a text of its own, and named in the general one',
  (command) => {
    const [own, general] = [parseCli([command.name, '--help']), parseCli(['--help'])];
    if (own.kind !== 'help' || general.kind !== 'help') throw new Error('no help');
    expect(own.text).toStartWith(`shadow-agent ${command.name}: ${command.summary}\n`);
    for (const part of [...command.usage, command.about, ...command.options.map(({ flag }) => `--${flag}`)]) {
      expect(own.text).toContain(part);
    }
    expect(own.text).toMatch(/\nExit codes:\n {2}0 {3}.*\n[\s\S]* {2}64 {2}the command line is wrong\n/);
    for (const line of own.text.split('\n')) expect(line.length).toBeLessThanOrEqual(110);
    expect(general.text).toContain(`\n  ${command.name} `);
  },
);

describe('a usage error', () => {
  test.each([
    [['--thing-nme', 'x'], 'unknown option --thing-nme', 'did you mean --thing-name?'],
    [['--s3_endpont=x'], 'unknown option --s3_endpont', 'did you mean --s3-endpoint?'],
    [['-config', 'x'], 'unknown option -config', 'did you mean --config?'],
    [
      [],
      'shadow-agent needs a configuration',
      'write: shadow-agent --config agent.json; see shadow-agent --help',
    ],
    [['--once'], 'shadow-agent needs a configuration', '--config'],
    [['status'], 'status needs a configuration', 'write: shadow-agent status --config agent.json; see'],
    [['rollback', 's3'], 'rollback needs a configuration', 'rollback PROPERTY --config agent.json'],
    [['doctor', '--frob'], 'unknown option --frob', 'shadow-agent doctor --help lists its options'],
    [['doctor', '--jsn'], 'unknown option --jsn', 'did you mean --json? See shadow-agent doctor --help'],
    [['rollback', 's3', '--jsn'], 'unknown option --jsn', 'shadow-agent rollback --help lists its options'],
    [['keygen', '--foo'], 'unknown option --foo', 'shadow-agent keygen --help lists its options'],
    [['doctor', '--config'], '--config needs a value', 'see shadow-agent doctor --help'],
    [['--json', '--config', 'x'], 'shadow-agent takes no option --json', 'write: shadow-agent --config'],
    [
      ['rolback', 's3'],
      'unknown command "rolback"',
      'did you mean shadow-agent rollback? See shadow-agent --help',
    ],
    [['help'], 'unknown command "help"', 'did you mean --help?'],
    [['version'], 'unknown command "version"', 'did you mean --version?'],
    [['status', 's3', '--config', 'x'], 'unexpected argument "s3"', 'see shadow-agent status --help'],
    [['-x'], 'unknown option -x', '--help'],
    [['--h'], 'unknown option --h', '--help'],
    [['--__proto__=x'], 'unknown option --__proto__', '--proxy'],
    [['--endpoint.host', 'x'], 'unknown option --endpoint.host', ''],
    [['--no-once'], 'unknown option --no-once', 'did you mean --once?'],
    [['--no-thing-name'], 'unknown option --no-thing-name', 'did you mean --thing-name?'],
    [['--thing-name'], '--thing-name needs a value', '--thing-name=VALUE'],
    [['--thing-name', '--once'], '--thing-name needs a value', '--thing-name=VALUE'],
    [['--thing-name='], '--thing-name needs a value', '--thing-name=VALUE'],
    [['--thing-name', ''], '--thing-name needs a value', '--thing-name=VALUE'],
    [['--ca', 'x', '--ca-file', 'y'], '--ca is given 2 times', 'give it once'],
    [['--config', 'x', '--config', 'x'], '--config is given 2 times', 'give it once'],
    [['--once', '--once'], '--once is given 2 times', 'give it once'],
    [['--s3-path-style', '--no-s3-path-style'], '--s3-path-style is given 2 times', 'give it once'],
    [['--once=yes'], '--once takes no value', 'leave the value out'],
    [['--keep-previous=false'], '--keep-previous takes no value', '--no-keep-previous'],
    [['--max-bytes', '1e9'], '--max-bytes must be a whole number, not "1e9"', 'digits only'],
    [['--keep-alive-seconds=-5'], '--keep-alive-seconds must be a whole number', 'digits only'],
    [['--max-bytes', '9007199254740993'], '--max-bytes must be a whole number', 'digits only'],
    [['keygen'], 'keygen needs a FILE', 'shadow-agent keygen FILE'],
    [['sign', 'f', '--property', 's3'], 'sign needs --key', 'keygen'],
    [['sign', 'f', '--key', 'k'], 'sign needs --property', '--property s3'],
    [['sign', 'f', '--key', 'k', '--property', 'shadowAgent'], '--property is reserved', 'as the devices'],
    [
      ['sign', 'f', '--key', 'k', '--property', 's', '--to', 's3://b'],
      '--to must be s3://bucket/key',
      'the object',
    ],
    [['sign', 'f', '--key', 'k', '--property', 's', '--sequence', '0'], '--sequence must be', 'leave it out'],
    [
      ['sign', 'f', '--key', 'k', '--property', 's', '--cert', 'c'],
      'sign takes no option --cert',
      'sign FILE',
    ],
    [['unit'], 'unit needs --config', 'unit --config /etc'],
    [['unit', '--config', 'a', '--user', 'a b'], '--user cannot be "a b"', 'a user of the system'],
    [['unit', '--config', 'a', '--cert', 'c'], 'unit takes no option --cert', 'unit --config'],
    [['shema'], 'unknown command "shema"', 'did you mean shadow-agent schema?'],
    [['start'], 'unknown command "start"', '--help'],
    [['agent.json'], 'unknown command "agent.json"', 'did you mean --config agent.json?'],
    [['--once', 'true'], 'unknown command "true"', '--help'],
    [['--', 'x'], 'unknown command "x"', '--help'],
    [['007'], 'unknown command "007"', '--help'],
    [['schema', 'x'], 'unexpected argument "x"', 'shadow-agent schema'],
    [['schema', '--once'], 'schema takes no option --once', 'shadow-agent schema'],
    [['schema', '--thing-name', 'x'], 'schema takes no option --thing-name', 'shadow-agent schema'],
  ])('%j', (argv, message, hint) => {
    const invocation = parseCli(argv);
    if (invocation.kind !== 'usage-error') throw new Error(JSON.stringify(invocation));
    expect(invocation.message).toContain(message);
    expect(invocation.hint).toContain(hint);
  });
});

describe('the program', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'shadow-agent-cli-'));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  interface Result {
    code: number | null;
    stdout: string;
    stderr: string;
  }

  /** `gone`: its readers close their ends before it writes. */
  function run(argv: string[], gone = false): Promise<Result> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [join(import.meta.dir, '../src/main.ts'), ...argv], { cwd: dir });
      const result: Result = { code: null, stdout: '', stderr: '' };
      for (const name of ['stdout', 'stderr'] as const) {
        if (gone) child[name].destroy();
        else
          child[name].setEncoding('utf8').on('data', (text: string) => {
            result[name] += text;
          });
      }
      child.on('error', reject);
      child.on('close', (code) => resolve({ ...result, code }));
    });
  }

  test('ends with 64 on a usage error, told in two lines', async () => {
    expect(await run(['--thing-nme', 'x'])).toEqual({
      code: 64,
      stdout: '',
      stderr: 'error: unknown option --thing-nme\nhint: did you mean --thing-name? See shadow-agent --help\n',
    });
  });

  test('ends with 78 on a wrong configuration, and lists every problem', async () => {
    await writeFile(
      join(dir, 'agent.json'),
      JSON.stringify({ thingName: 'a\nb', files: [{ mode: 1, path: '\u001b[31m/' }] }),
    );
    const { code, stdout, stderr } = await run(['--config', 'agent.json', '--ca', 'none.pem']);
    expect([code, stdout]).toEqual([78, '']);
    const lines = stderr.trimEnd().split('\n');
    lines.forEach((line, index) => {
      expect(line).toMatch(index % 2 === 0 ? /^error: [^ ]+: \S/ : /^hint: \S/);
    });
    expect(
      lines.filter((line) => line.startsWith('error:')).map((line) => line.split(':')[1]?.trim()),
    ).toEqual([
      'thingName',
      'endpoint',
      'credentialEndpoint',
      'cert',
      'key',
      'files[0].property',
      'files[0].mode',
      'files[0].path',
      '--ca',
    ]);
    expect(stderr).not.toContain('\u001b');
    expect(stderr).not.toContain('    at ');
  });

  test.each(['', '[', '{"a":}', '\u0000', '7'])('shows no stack for the file %j', async (content) => {
    await writeFile(join(dir, 'broken.json'), content);
    const { code, stdout, stderr } = await run(['--config', 'broken.json']);
    expect([code, stdout]).toEqual([78, '']);
    expect(stderr).toMatch(/^error: .*broken\.json: .+\nhint: .+\n$/);
  });

  test('ends with 64 where flags of the only file stand beside a file list', async () => {
    await writeFile(join(dir, 'listing.json'), JSON.stringify({ files: [{ property: 'a', path: 'b' }] }));
    const { code, stderr } = await run(['--config', 'listing.json', '--path', 'x']);
    expect(code).toBe(64);
    expect(stderr).toMatch(/^error: --path: defines the only file.*\nhint: .+\n$/);
  });

  test('prints the schema, the version and the help on stdout and ends with 0', async () => {
    const [schema, version, help] = await Promise.all([run(['schema']), run(['--version']), run(['--help'])]);
    expect(JSON.parse(schema.stdout)).toEqual(configJsonSchema());
    expect(version).toEqual({ code: 0, stdout: `shadow-agent ${pkg.version}\n`, stderr: '' });
    expect([schema.code, schema.stderr, help.code, help.stderr]).toEqual([0, '', 0, '']);
    expect(help.stdout).toStartWith('shadow-agent');
  });

  test('keeps its exit code when nobody reads what it prints', async () => {
    const [schema, usage] = await Promise.all([run(['schema'], true), run(['--nothing'], true)]);
    expect([schema.code, usage.code]).toEqual([0, 64]);
  });
});
