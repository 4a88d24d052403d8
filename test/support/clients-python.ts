/**
 * AWS's clients for Python in an environment of their own. It is made once, under `node_modules/.cache`, of the
 * versions in `test/clients/requirements.txt`; other versions, of Python too, make another one.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pythonModule, type Tool } from './tools.ts';

const run = promisify(execFile);
const clients = join(import.meta.dir, '../clients');
const requirements = join(clients, 'requirements.txt');
const cache = join(import.meta.dir, '../../node_modules/.cache/shadow-agent/python');

let clientsOfProcess: Promise<Tool[]> | undefined;

/** What the tests need: a Python that can make environments, and the packages. The path is that of the interpreter. */
export function pythonClients(): Promise<Tool[]> {
  clientsOfProcess ??= findOrInstall();
  return clientsOfProcess;
}

async function findOrInstall(): Promise<Tool[]> {
  // Debian's python3 has no ensurepip, without which there is no venv; python3-venv brings it.
  const python = pythonModule('ensurepip', 'python3-venv');
  const packages = { name: 'awscli, boto3 and awsiotsdk', debianPackage: 'python3-venv' };
  if (!python.found) return [{ ...packages, path: 'python3', found: false }];
  try {
    return [{ ...packages, path: await environment(python.path), found: true }];
  } catch (error) {
    // Without a package index there is nothing to test with, which is no fault of the sandbox.
    const reason = String(error).slice(0, 500);
    return [
      { name: `${packages.name} (${reason})`, debianPackage: 'python3-venv', path: 'python3', found: false },
    ];
  }
}

async function environment(python: string): Promise<string> {
  const { stdout: version } = await run(python, ['-VV']);
  const key = createHash('sha256').update(version).update(readFileSync(requirements)).digest('hex');
  const dir = join(cache, key.slice(0, 12));
  const interpreter = join(dir, 'bin/python');
  if (existsSync(interpreter)) return interpreter;

  // Named only when it is whole; scripts in bin/ would have the old name in them, so that modules are run instead.
  const staged = `${dir}.${process.pid}`;
  await mkdir(cache, { recursive: true });
  try {
    await run(python, ['-m', 'venv', staged]);
    const install = [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--retries',
      '1',
      '--only-binary',
      ':all:',
      '--requirement',
      requirements,
    ];
    await run(join(staged, 'bin/python'), [...install, '--no-deps']);
    await rename(staged, dir);
  } catch (error) {
    await rm(staged, { recursive: true, force: true });
    // Another run of the tests may have been quicker.
    if (!existsSync(interpreter)) throw error;
  }
  return interpreter;
}
