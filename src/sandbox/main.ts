/** `bun run sandbox [command]` */
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { openToClients, orderFault, putFile, readShadow, writeDesired } from './client.ts';
import { faultNames, isFaultName } from './faults.ts';
import { nextSteps, ports } from './next-steps.ts';
import { bucketName, Sandbox } from './sandbox.ts';

let dir = resolve('.sandbox');

const usage = `Usage: bun run sandbox [--dir DIR] [COMMAND]

  (none)                        start AWS on loopback: MQTT broker with shadows, credentials provider, S3
  put FILE [s3://bucket/key]    upload a file, by default into s3://${bucketName}/
  shadow [THING]                print the shadow of a thing (test-thing)
  desire JSON [THING]           write to the desired state
  fault NAME VALUE [TIMES]      turn a fault on, for so many uses or until it is turned off
  fault NAME                    turn it off
  fault                         list the switches
`;

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function run([command, ...rest]: string[]): Promise<number> {
  if (command === '--dir' && rest[0] !== undefined) {
    dir = resolve(rest[0]);
    return run(rest.slice(1));
  }
  const [first, second, third] = rest;
  switch (command) {
    case undefined:
      await serve();
      return 0;
    case 'put':
      if (first === undefined) break;
      print(`uploaded ${await putFile(dir, first, second)}`);
      return 0;
    case 'shadow':
      print(await readShadow(dir, first ?? 'test-thing'));
      return 0;
    case 'desire':
      if (first === undefined) break;
      await writeDesired(dir, second ?? 'test-thing', first);
      return 0;
    case 'fault':
      return await fault(first, second, third);
  }
  process.stderr.write(usage);
  return command === '--help' || command === 'help' ? 0 : 64;
}

async function fault(name?: string, value?: string, times?: string): Promise<number> {
  if (name === undefined) {
    for (const [known, what] of Object.entries(faultNames)) print(`${known.padEnd(20)} ${what}`);
    return 0;
  }
  if (!isFaultName(name))
    throw new Error(`"${name}" is no fault switch; list them with: bun run sandbox fault`);
  print(await orderFault(dir, name, numberOf(value), numberOf(times)));
  return 0;
}

function numberOf(word: string | undefined): number | undefined {
  if (word === undefined) return undefined;
  const number = Number(word);
  if (!Number.isFinite(number)) throw new Error(`"${word}" is no number`);
  return number;
}

/** What of the sandbox's ports others listen on. */
async function takenPorts(): Promise<string[]> {
  const taken = Object.entries(ports).map(async ([name, port]) => {
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (isFree) await new Promise((resolve) => server.close(resolve));
    return isFree ? [] : [`${port} (${name})`];
  });
  return (await Promise.all(taken)).flat();
}

async function serve(): Promise<void> {
  const taken = await takenPorts();
  if (taken.length > 0) {
    throw new Error(
      `on 127.0.0.1 others listen on ${taken.join(', ')}: is a sandbox running already? "ss -ltnp" shows who it is`,
    );
  }
  const sandbox = await Sandbox.start({ dir, ports, log: print });
  await rm(join(dir, 'control.sock'), { force: true });
  const control = await openToClients(sandbox);
  const device = await sandbox.device('test-thing');
  print(nextSteps(dir, device));
  await new Promise((stop) => {
    process.once('SIGINT', stop);
    process.once('SIGTERM', stop);
  });
  control.close();
  await sandbox.close();
}

try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
