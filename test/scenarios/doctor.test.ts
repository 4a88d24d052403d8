/** `shadow-agent doctor`, with the compiled executable, on a device that is well and with the agent running. */
import { expect, test } from 'bun:test';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { examine, failures, finding, snapshot } from '../support/doctor.ts';
import { bucketName, noise, scenario, sha256, type World } from '../support/world.ts';

const hoge = sha256('hoge\n');

async function text(world: World, ...more: string[]) {
  const run = await world.run(['doctor', '--config', world.device.configPath, ...more]);
  return { code: await run.exit, text: run.output, log: run.log };
}

test('doctor finds a healthy device healthy, with figures, and changes nothing on disk or in the shadow', () =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    const [disk, shadow] = [snapshot(world.device.dir), world.sandbox.shadow('test-thing')];
    const found = await examine(world);
    expect(found.probes.map(({ probe, verdict }) => `${verdict} ${probe}`)).toEqual([
      'ok config',
      'ok identity',
      'ok permissions',
      'ok agent',
      'ok dns data',
      'ok dns credentials',
      'ok dns s3',
      'ok tls data',
      'ok tls credentials',
      'ok tls s3',
      'ok clock',
      'ok certificate',
      'ok mqtt',
      'ok subscriptions',
      'ok shadow',
      'ok credentials',
      'ok s3',
      'ok targets',
      'ok state',
    ]);
    expect(finding(found, 'tls data').message).toMatch(/ answers: TLSv1\.3 in \d+ ms$/);
    expect(finding(found, 's3').message).toMatch(/test\.txt is there, 5 B, first byte in \d+ ms$/);
    expect(world.gets().map(({ status, bytesSent }) => [status, bytesSent])).toEqual([[206, 1]]);
    expect(snapshot(world.device.dir)).toEqual(disk);
    const { timestamp: _, ...after } = world.sandbox.shadow('test-thing') ?? {};
    const { timestamp: __, ...before } = shadow ?? {};
    expect(after).toEqual(before);
    expect(existsSync(join(world.device.dir, 'state'))).toBe(false);
  }));

test('doctor --property looks at object and target of one file, and knows the names of all', () =>
  scenario(
    async (world) => {
      await world.put('test.txt', 'hoge\n');
      world.desire({ other: { url: `s3://${bucketName}/missing`, hash: hoge } });
      expect(failures(await examine(world))).toEqual(['s3']);
      const one = await examine(world, '--property', 's3');
      expect(failures(one)).toEqual([]);
      expect(finding(one, 's3').message).toContain('test.txt is there');
      expect(finding(one, 'targets').message).toStartWith('s3: ');
      const wrong = await text(world, '--property', 'othr');
      expect([wrong.code, wrong.text]).toEqual([64, '']);
      expect(wrong.log).toBe('error: no file has the property "othr"\nhint: did you mean other?\n');
    },
    {
      files: [
        { property: 's3', path: 'tmpfile' },
        { property: 'other', path: 'other' },
      ],
    },
  ));

test('doctor prints a line for each probe, without colours where stdout is no terminal', () =>
  scenario(async (world) => {
    const { code, text: lines, log } = await text(world);
    expect([code, log]).toEqual([0, '']);
    expect(lines).toMatch(
      /^ok {4}config {12}one file for thing test-thing\nok {4}identity {10}the key is that of/,
    );
    expect(lines).toContain('\nskip  s3                s3: nothing is desired of it');
    expect(lines).toMatch(/\n18 ok, 1 skipped\n$/);
    expect(lines).not.toContain('\u001b');
  }));

test('while an agent runs, doctor asks it for the link, and does not take its client id', () =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    const agent = await world.start();
    await world.inSync(hoge);
    const found = await examine(world);
    expect(finding(found, 'mqtt').message).toMatch(/the running agent \(pid \d+\) is connected/);
    expect(finding(found, 'shadow').message).toMatch(/had the last answer \d+ s ago; it desires s3$/);
    expect(finding(found, 's3')).toMatchObject({ verdict: 'ok' });
    expect(finding(found, 'agent').message).toMatch(/^runs on \S+ \(pid \d+, for \d+ s\)$/);
    expect(finding(found, 'state').message).toMatch(/ is writable$/);
    expect(world.sandbox.broker.connects).toBe(1);
    expect(agent.log).not.toContain('WARN');
  }));

test('a running agent whose link is down is told with its reason', () =>
  scenario(async (world) => {
    const agent = await world.start();
    world.sandbox.faults.set('mqtt-refuse', 1);
    world.sandbox.broker.kick('test-thing');
    await agent.logged('Cannot connect to the broker');
    const found = await examine(world);
    expect(failures(found)).toEqual(['mqtt']);
    expect(finding(found, 'mqtt').message).toMatch(/the running agent .* is not connected: Cannot connect/);
  }));

test('an agent that hangs is a failure with what to do, and keeps its client id', () =>
  scenario(async (world) => {
    const agent = await world.start();
    agent.child.kill('SIGSTOP');
    const found = await examine(world);
    expect(failures(found)).toEqual(['agent']);
    const { message, hint } = finding(found, 'agent');
    expect(message).toMatch(/^The agent holds \S+agent\.sock, but does not answer$/);
    expect(hint).toContain('systemctl restart');
    expect(finding(found, 'mqtt').verdict).toBe('skip');
    expect(finding(found, 'state').message).toMatch(/ is writable$/);
    expect(world.sandbox.broker.connects).toBe(1);
  }));

test('a running agent that follows another shadow than the configuration says is a warning', () =>
  scenario(async (world) => {
    await world.start();
    const otherThing = finding(await examine(world, '--thing-name', 'other'), 'agent');
    expect(otherThing).toMatchObject({
      verdict: 'warn',
      message: expect.stringMatching(
        /follows the classic shadow of test-thing; this configuration says the classic shadow of other$/,
      ),
      hint: expect.stringContaining('restart the agent'),
    });
    const named = finding(await examine(world, '--shadow-name', 'files'), 'agent');
    expect(named.message).toMatch(/says shadow files of test-thing$/);
  }));

test('a configuration that has changed since the agent was started is a warning, and nothing is said of its new file', () =>
  scenario(async (world) => {
    const agent = await world.start();
    const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
    config.resyncSeconds = 4000;
    writeFileSync(world.device.configPath, JSON.stringify(config));
    const changed = finding(await examine(world), 'agent');
    expect(changed).toMatchObject({
      verdict: 'warn',
      message: `the running agent (pid ${agent.child.pid}) has another configuration: the file says something else than when the agent was started`,
      hint: expect.stringMatching(/^restart the agent, so that it takes this configuration/),
    });
    config.files.push({ property: 'added', path: 'added' });
    writeFileSync(world.device.configPath, JSON.stringify(config));
    world.desire({ added: { url: `s3://${bucketName}/missing`, hash: hoge } });
    const added = await examine(world);
    expect(finding(added, 'agent').message).toMatch(/has another configuration: it keeps no file "added"$/);
    expect(added.probes.filter(({ probe }) => probe === 's3').map(({ message }) => message)).toEqual([
      's3: nothing is desired of it, so there is no object to ask for',
      'added: the running agent does not keep it (see "agent"), so it cannot tell what is desired',
    ]);
  }));

test('a wrong configuration is a failed probe with each of its problems, and no exit 78', () =>
  scenario(async (world) => {
    const found = await examine(world, '--thing-name', 'a b', '--resync-seconds', '0');
    const problems = found.probes.filter(({ probe }) => probe === 'config');
    expect(problems.map(({ message }) => message.split(':')[0])).toEqual([
      '--thing-name',
      '--resync-seconds',
    ]);
    for (const { hint } of problems) expect(hint).not.toBeNull();
    expect(finding(found, 'dns data')).toMatchObject({
      verdict: 'skip',
      message: 'not tried, as "config" did not succeed',
    });
    expect((await text(world, '--path', 'x')).code).toBe(64);
    writeFileSync(world.device.configPath, '{');
    expect(failures(await examine(world))).toEqual(['config']);
  }));

test('the dates of a sound certificate are told whatever is wrong with the configuration', () =>
  scenario(async (world) => {
    const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
    delete config.s3.region;
    writeFileSync(world.device.configPath, JSON.stringify(config));
    const found = await examine(world);
    expect(failures(found)).toEqual(['config']);
    expect(finding(found, 'certificate')).toMatchObject({
      verdict: 'ok',
      message: expect.stringMatching(/^valid until /),
    });
  }));

test("a key that is another certificate's is told, and what needs none of them is probed all the same", () =>
  scenario(async (world) => {
    const { key } = await world.sandbox.pki.issueDevice('other');
    writeFileSync(join(world.device.dir, 'private.key'), key);
    const found = await examine(world);
    expect(failures(found)).toEqual(['identity']);
    expect(finding(found, 'identity').message).toMatch(/is not the key of the certificate/);
    for (const name of ['dns data', 'targets', 'state']) expect(finding(found, name).verdict).toBe('ok');
    expect(finding(found, 'mqtt').verdict).toBe('skip');
  }));

test('a key that others can read is a warning, and with "strict" a failure', () =>
  scenario(async (world) => {
    const key = join(world.device.dir, 'private.key');
    chmodSync(key, 0o644);
    const lax = await examine(world, '--no-strict');
    expect(finding(lax, 'permissions')).toMatchObject({ verdict: 'warn', hint: `chmod 600 ${key}` });
    const strict = await examine(world, '--strict');
    expect(failures(strict)).toEqual(['permissions']);
    expect(finding(strict, 'mqtt').verdict).toBe('ok');
  }));

test('an object of another size than desired, or a larger one than allowed, is told', () =>
  scenario(async (world) => {
    await world.put('big', noise(5_000));
    world.desire({ s3: { size: 4_000 } });
    expect(finding(await examine(world), 's3').message).toContain('has 5000 bytes, desired says 4000');
    world.desire({ s3: { size: null } });
    const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
    config.files[0].maxBytes = 4_999;
    writeFileSync(world.device.configPath, JSON.stringify(config));
    expect(finding(await examine(world), 's3')).toMatchObject({
      verdict: 'fail',
      message: expect.stringContaining('"maxBytes" is 4999'),
    });
  }));

test('an empty object is there; a desired value that is malformed or not allowed is told', () =>
  scenario(async (world) => {
    await world.put('empty', '');
    expect(finding(await examine(world), 's3').message).toContain('is there, 0 B');
    world.desire({ s3: { hash: 'x' } });
    expect(finding(await examine(world), 's3').message).toContain('DESIRED_INVALID');
    world.desire({ s3: { hash: hoge, url: 's3://other/key' } });
    expect(finding(await examine(world), 's3').message).toContain('NOT_ALLOWED');
    world.desire({ s3: { url: `s3://${bucketName}/missing` } });
    expect(finding(await examine(world), 's3')).toMatchObject({
      verdict: 'fail',
      message: expect.stringContaining('NoSuchKey'),
    });
  }));
