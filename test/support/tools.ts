/**
 * Programs and files that some tests need beside what package.json brings. Where one is missing, the test is skipped
 * and its name says which Debian package would let it run; with CI=true in the environment it fails instead.
 *
 *   const mosquitto = program('mosquitto');
 *   toolTest([mosquitto], 'the agent works on mosquitto', async () => { spawn(mosquitto.path, …) });
 */
import { test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Something that a test needs of the machine. */
export interface Tool {
  name: string;
  /** What brings it: a Debian package, or several with blanks between. */
  debianPackage: string;
  /** Where it is; its name where it is missing. */
  path: string;
  found: boolean;
}

/** A program in PATH or in the directories for administrators, which are often not in PATH. */
export function program(name: string, debianPackage = name): Tool {
  const dirs = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin'];
  const path = dirs.map((dir) => join(dir, name)).find((candidate) => existsSync(candidate));
  return { name, debianPackage, path: path ?? name, found: path !== undefined };
}

/** A file or directory that must be there. */
export function fileOf(path: string, debianPackage: string): Tool {
  return { name: path, debianPackage, path, found: existsSync(path) };
}

/** A module of Python; the path is that of the first python3, the system's last, that can import it. */
export function pythonModule(name: string, debianPackage = `python3-${name}`): Tool {
  const path = ['python3', '/usr/bin/python3'].find(
    (python) => spawnSync(python, ['-c', `import ${name}`]).status === 0,
  );
  return { name: `python3 ${name}`, debianPackage, path: path ?? 'python3', found: path !== undefined };
}

/** To be root: only root may give files away and bind the low ports. */
export const root: Tool = {
  name: 'to be root',
  debianPackage: 'sudo',
  path: 'sudo',
  found: process.geteuid?.() === 0,
};

/** Registers a test that needs tools; like bun:test's `test`, the time limit is in milliseconds. */
export function toolTest(
  tools: readonly Tool[],
  name: string,
  play: () => Promise<void> | void,
  timeoutMs?: number,
  run: typeof test | typeof test.concurrent = test,
): void {
  const missing = tools.filter(({ found }) => !found);
  const names = missing.map((tool) => tool.name).join(', ');
  const reason = `needs ${names}: apt-get install ${missing.map((tool) => tool.debianPackage).join(' ')}`;
  if (missing.length === 0) {
    run(name, play, timeoutMs);
  } else if (process.env['CI'] === 'true') {
    test(name, () => {
      throw new Error(`this test ${reason}`);
    });
  } else {
    test.skipIf(true)(`${name} (${reason})`, play);
  }
}
