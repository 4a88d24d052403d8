/** A sandbox as `bun run sandbox` starts it, for clients that take nothing but its shell variables. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openToClients } from '../../src/sandbox/client.ts';
import { Sandbox } from '../../src/sandbox/sandbox.ts';

export interface Finished {
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

export class ClientsSandbox {
  readonly sandbox: Sandbox;
  readonly #close: () => void;

  private constructor(sandbox: Sandbox, close: () => void) {
    this.sandbox = sandbox;
    this.#close = close;
  }

  static async start(): Promise<ClientsSandbox> {
    const sandbox = await Sandbox.start({ dir: await mkdtemp(join(tmpdir(), 'shadow-agent-')) });
    const control = await openToClients(sandbox);
    return new ClientsSandbox(sandbox, () => control.close());
  }

  /** A path in the sandbox's directory. */
  path(name: string): string {
    return join(this.sandbox.dir, name);
  }

  /** Starts a program after `. .sandbox/env`; nothing else of this machine's settings for AWS reaches it. */
  spawn(program: string, args: readonly string[]): ChildProcessWithoutNullStreams {
    const { dir } = this.sandbox;
    const env = {
      ...{ PATH: process.env['PATH'], HOME: dir, LANG: 'C.UTF-8', NO_PROXY: '*' },
      ...{ AWS_CONFIG_FILE: join(dir, 'none'), AWS_SHARED_CREDENTIALS_FILE: join(dir, 'none') },
      ...{ AWS_EC2_METADATA_DISABLED: 'true', AWS_PAGER: '' },
    };
    return spawn('sh', ['-c', '. "$0" && exec "$@"', join(dir, 'env'), program, ...args], { env, cwd: dir });
  }

  /** Runs a program to its end. */
  async run(program: string, args: readonly string[]): Promise<Finished> {
    const child = this.spawn(program, args);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { exitCode, stdout, stderr };
  }

  async close(): Promise<void> {
    this.#close();
    await this.sandbox.close();
    await rm(this.sandbox.dir, { recursive: true, force: true });
  }
}
