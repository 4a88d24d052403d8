/** src/cloud/provision.sh with an `aws` and a `curl` that answer from a table: what it asks for, and what it leaves. */
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../src/config.ts';
import { createPki } from '../../src/sandbox/pki.ts';

const script = join(import.meta.dirname, '../../src/cloud/provision.sh');
let work: string;
beforeEach(async () => {
  work = await mkdtemp(join(tmpdir(), 'shadow-agent-'));
  const pki = await createPki();
  const { cert, key } = await pki.issueDevice('board');
  await mkdir(join(work, 'bin'));
  await writeFile(join(work, 'certificate'), cert);
  await writeFile(join(work, 'key'), key);
  await writeFile(join(work, 'ca'), pki.caCert);
  await program(
    'aws',
    `echo "$*" >>"${work}/calls"
[ -n "$TEST_FAILS" ] && case "$*" in *"$TEST_FAILS"*) exit 254 ;; esac
[ "$1" = cloudformation ] && [ -n "$TEST_OUTPUTS" ] && echo "$TEST_OUTPUTS" && exit
case "$*" in
  *"'Bucket'"*) echo files ;;
  *"'DevicePolicy'"*) echo stack-device ;;
  *"'RoleAlias'"*) echo stack-device-alias ;;
  *"'Property'"*) echo s3 ;;
  *"'ShadowName'"*) echo "$TEST_SHADOW" ;;
  *iot:Data-ATS*) echo xxxxxxxxxxxxxx-ats.iot.us-east-1.amazonaws.com ;;
  *iot:CredentialProvider*) echo xxxxxxxxxxxxx.credentials.iot.us-east-1.amazonaws.com ;;
  *create-keys-and-certificate*)
    while [ $# -gt 0 ]; do
      [ "$1" = --certificate-pem-outfile ] && cp "${work}/certificate" "$2"
      [ "$1" = --private-key-outfile ] && cat "${work}/key" >"$2"
      shift
    done
    echo arn:aws:iot:us-east-1:123456789012:cert/abc ;;
esac`,
  );
  await program('curl', `for last; do :; done; cp "${work}/ca" "$last"`);
});
afterEach(() => rm(work, { recursive: true, force: true }));

async function program(name: string, body: string): Promise<void> {
  const path = join(work, 'bin', name);
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
}

function provision(args: string[], variables: Record<string, string> = {}) {
  const env = {
    PATH: `${join(work, 'bin')}:${process.env['PATH']}`,
    TEST_SHADOW: '',
    TEST_FAILS: '',
    TEST_OUTPUTS: '',
    ...variables,
  };
  return spawnSync('sh', [script, ...args], { cwd: work, env, encoding: 'utf8' });
}

const calls = async () =>
  (await readFile(join(work, 'calls'), 'utf8')).split('\n').filter((line) => line.startsWith('iot '));

test('it makes a thing with policy and certificate, and the agent takes the configuration as it is', async () => {
  const dir = join(work, 'out', 'board');
  const { status, stderr } = provision(['stack', 'board', dir]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const loaded = await loadConfig({ configPath: join(dir, 'agent.json'), flags: {}, env: {}, cwd: dir });
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  expect(loaded.config).toMatchObject({
    thingName: 'board',
    s3: { region: 'us-east-1' },
    files: [{ property: 's3', path: '/tmp/tmpfile', allow: ['s3://files/'] }],
  });
  expect((await stat(join(dir, 'private.key'))).mode & 0o777).toBe(0o600);
  const arn = 'arn:aws:iot:us-east-1:123456789012:cert/abc';
  expect(await calls()).toEqual(
    expect.arrayContaining([
      'iot create-thing --thing-name board',
      `iot attach-policy --policy-name stack-device --target ${arn}`,
      `iot attach-thing-principal --thing-name board --principal ${arn}`,
    ]),
  );
  expect((await calls()).join()).not.toContain('thing-group');
});

test('with a group the thing joins it; a named shadow and another file go into agent.json', async () => {
  const dir = join(work, 'board');
  const { status } = provision(['stack', 'board', dir, 'fleet'], {
    TEST_SHADOW: 'files',
    FILE: '/var/lib/app/m',
    TEST_FAILS: 'describe-thing-group',
  });
  expect(status).toBe(0);
  const verbs = (await calls())
    .map((line) => line.split(' ')[1] ?? '')
    .filter((verb) => !/endpoint/.test(verb));
  expect(verbs).toEqual([
    'create-thing',
    'describe-thing-group',
    // What may be refused comes before the certificate, which is made only once.
    'create-thing-group',
    'create-keys-and-certificate',
    'attach-policy',
    'attach-thing-principal',
    'add-thing-to-thing-group',
  ]);
  expect(await calls()).toEqual(
    expect.arrayContaining([
      'iot create-thing-group --thing-group-name fleet',
      'iot add-thing-to-thing-group --thing-group-name fleet --thing-name board',
    ]),
  );
  expect(JSON.parse(await readFile(join(dir, 'agent.json'), 'utf8'))).toMatchObject({
    shadowName: 'files',
    files: [{ path: '/var/lib/app/m' }],
  });
});

test('a group that is there is joined as it is', async () => {
  expect(provision(['stack', 'board', join(work, 'board'), 'fleet']).status).toBe(0);
  expect((await calls()).join()).not.toContain('create-thing-group');
  expect((await calls()).at(-1)).toContain('add-thing-to-thing-group');
});

test('where policy or thing cannot be attached, all is there that is needed when that is mended', async () => {
  const dir = join(work, 'board');
  const { status, stderr } = provision(['stack', 'board', dir, 'fleet'], {
    TEST_FAILS: 'attach-thing-principal',
  });
  expect(status).toBe(1);
  expect(stderr).toContain('error: the certificate arn:aws:iot:us-east-1:123456789012:cert/abc is made');
  const hint = /hint: mend what AWS refused, then: (.*)$/m.exec(stderr)?.[1] ?? '';
  const env = { PATH: `${join(work, 'bin')}:${process.env['PATH']}` };
  expect(spawnSync('sh', ['-c', hint], { cwd: work, env }).status).toBe(0);
  expect((await calls()).slice(-2).map((line) => line.split(' ')[1])).toEqual([
    'attach-thing-principal',
    'add-thing-to-thing-group',
  ]);
  const loaded = await loadConfig({ configPath: join(dir, 'agent.json'), flags: {}, env: {}, cwd: dir });
  expect(loaded.ok).toBe(true);
});

test('a stack without outputs, for which the AWS CLI prints None, makes nothing', async () => {
  const dir = join(work, 'board');
  const { status, stderr } = provision(['stack', 'board', dir], { TEST_OUTPUTS: 'None' });
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /^error: the stack stack has no outputs\nhint: deploy dist\/template\.yaml\b[^\n]*\n$/,
  );
  expect((await calls()).join()).not.toMatch(/create|attach/);
  await expect(stat(dir)).rejects.toThrow();
});

test.each([
  ['a missing argument', ['stack', 'board'], {}],
  ['a stack without a name', ['', 'board', 'dir'], {}],
  ['a thing of 129 characters', ['stack', 'a'.repeat(129), 'dir'], {}],
  ['a directory that looks like an option', ['stack', 'board', '-d'], {}],
  ['a thing with a blank', ['stack', 'a board', 'dir'], {}],
  ['a thing without a name', ['stack', '', 'dir', 'fleet'], {}],
  ['a file with a line break', ['stack', 'board', 'dir'], { FILE: '/a\nb' }],
  ['a file with a tab', ['stack', 'board', 'dir'], { FILE: '/a\tb' }],
  ['a file with a quote', ['stack', 'board', 'dir'], { FILE: '/a"b' }],
  ['a file with a backslash', ['stack', 'board', 'dir'], { FILE: '/a\\b' }],
])('%s makes nothing', async (_name, args, variables) => {
  const { status, stderr } = provision(args, variables);
  expect(status).toBe(1);
  expect(stderr).toMatch(/^error: [^\n]+\nhint: [^\n]+\n$/);
  await expect(stat(join(work, 'calls'))).rejects.toThrow();
});

test('a key that is there already is never overwritten', async () => {
  await writeFile(join(work, 'private.key'), 'the only one');
  expect(provision(['stack', 'board', work]).stderr).toContain('is there already');
  expect(await readFile(join(work, 'private.key'), 'utf8')).toBe('the only one');
});
