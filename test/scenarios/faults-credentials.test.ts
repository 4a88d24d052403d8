/** Sessions that end too early, and a credentials provider that gives none. With the compiled executable. */
import { expect } from 'bun:test';
import type { FaultName } from '../../src/sandbox/faults.ts';
import { roleAlias } from '../../src/sandbox/sandbox.ts';
import { answers, faultTest, sent, waits } from '../support/faults.ts';
import { noise, sha256, until, type World } from '../support/world.ts';

const size = 3_000_000;
const big = noise(size);

const endings: Array<[string, (world: World) => void]> = [
  ['ExpiredToken', (world) => world.sandbox.sessions.expireAll()],
  ['InvalidToken', (world) => world.sandbox.faults.set('s3-invalid-token', 1, 1)],
  ['TokenRefreshRequired', (world) => world.sandbox.faults.set('s3-token-refresh', 1, 1)],
];

for (const [code, end] of endings) {
  faultTest(
    `${code} in mid-file: new credentials once, and on from there`,
    async (world) => {
      world.sandbox.faults.set('s3-stall', size / 3, 1);
      await world.put('big', big);
      await world.run();
      await sent(world, size / 3);
      end(world);
      await world.inSync(sha256(big));
      expect(answers(world)).toEqual([200, code, 206]);
      expect(world.sandbox.credentials.requests.length).toBe(2);
      const keys = world.gets().map(({ accessKeyId }) => accessKeyId);
      expect(keys[0] === keys[1] && keys[1] !== keys[2]).toBe(true);
      return size;
    },
    { config: { stallSeconds: 1 } },
  );
}

const refusals: Array<[string, FaultName]> = [
  ['ExpiredToken', 's3-expire'],
  ['InvalidToken', 's3-invalid-token'],
  ['TokenRefreshRequired', 's3-token-refresh'],
];

for (const [code, fault] of refusals) {
  faultTest(`${code} whatever the credentials: no loop, the next try is slow`, async (world) => {
    world.sandbox.faults.set(fault, 1);
    await world.put('big', big);
    const run = await world.start();
    await world.hasStatus({ status: 'failed', code: 'S3' });
    expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
    expect(answers(world)).toEqual([code, code]);
    expect(world.sandbox.credentials.requests.length).toBe(2);
    return 0;
  });
}

faultTest('the provider is down while credentials are valid: they are used on', async (world) => {
  const { faults, credentials } = world.sandbox;
  // Due for a refresh after half of it.
  faults.set('credentials-expire', 12);
  await world.put('first', 'hoge\n');
  await world.start();
  await world.inSync(sha256('hoge\n'));
  faults.set('credentials-503', 1);
  const issuedMs = Date.now();
  await until('the refresh is due', () => Date.now() - issuedMs > 6_100);
  const asked = credentials.requests.length;
  await world.put('second', 'fuga\n');
  await world.inSync(sha256('fuga\n'));
  expect(credentials.requests.slice(asked).map(({ status }) => status)).toContain(503);
  expect(answers(world)).toEqual([200, 200]);
  return 10;
});

faultTest('the provider is down and no credentials are left: asked again until it is back', async (world) => {
  const { faults, credentials } = world.sandbox;
  faults.set('credentials-refuse', 1, 3);
  await world.put('big', big);
  const run = await world.start();
  await world.inSync(sha256(big));
  expect(credentials.requests.map(({ status }) => status ?? 0)).toEqual([0, 0, 0, 200]);
  expect(run.log).toContain('code=CREDENTIALS');
  for (const seconds of waits(run)) expect(seconds).toBeLessThanOrEqual(4);
  return size;
});

interface Refusal {
  fault: string;
  cause: (world: World) => void;
  status: number;
  hint: RegExp;
}

const slowly: Refusal[] = [
  {
    fault: '403 Invalid thing name passed',
    cause: (world) => world.device.certificate.things.clear(),
    status: 403,
    hint: /aws iot attach-thing-principal --thing-name test-thing/,
  },
  {
    fault: '403 Access Denied',
    cause: (world) => {
      world.device.certificate.assumeRole = false;
    },
    status: 403,
    hint: new RegExp(`iot:AssumeRoleWithCertificate on the role alias .*${roleAlias}`),
  },
  {
    fault: '404 Role alias does not exist',
    cause: (world) => void world.sandbox.roleAliases.delete(roleAlias),
    status: 404,
    hint: /aws iot create-role-alias/,
  },
  {
    fault: '400 Unable to assume the role',
    cause: (world) => void world.sandbox.roleAliases.set(roleAlias, { roleExists: false }),
    status: 400,
    hint: /let credentials.iot.amazonaws.com assume the role/,
  },
  {
    fault: '400 The requested CredentialDurationSeconds exceeds',
    cause: (world) =>
      void world.sandbox.roleAliases.set(roleAlias, { durationSeconds: 7200, maxDurationSeconds: 3600 }),
    status: 400,
    hint: /lower the duration of the alias/,
  },
];

for (const { fault, cause, status, hint } of slowly) {
  faultTest(`${fault}: the hint says what to do, and the next try is slow`, async (world) => {
    const run = await world.start();
    cause(world);
    await world.put('big', big);
    await world.hasStatus({ status: 'failed', code: 'CREDENTIALS' });
    expect(run.log).toMatch(hint);
    expect(run.log).toContain(fault.slice(4));
    expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
    const asked = world.sandbox.credentials.requests.map((request) => request.status);
    expect(new Set(asked)).toEqual(new Set([status]));
    // Once ahead of time, while the shadow is read, and once for the attempt.
    expect(asked.length).toBeLessThanOrEqual(2);
    expect(answers(world)).toEqual([]);
    return 0;
  });
}

for (const status of [429, 500, 503]) {
  faultTest(`${status} of the provider: asked again soon`, async (world) => {
    world.sandbox.faults.set('credentials-reject', status, 2);
    await world.put('big', big);
    const run = await world.start();
    await world.inSync(sha256(big));
    expect(run.log).toContain(`HTTP ${status}`);
    expect(waits(run).length).toBeGreaterThanOrEqual(1);
    for (const seconds of waits(run)) expect(seconds).toBeLessThanOrEqual(4);
    expect(world.sandbox.credentials.requests.length).toBe(3);
    return size;
  });
}
