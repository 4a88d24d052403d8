/** The server that all downloads are measured against: nginx over TLS, which is not the one that sets the pace. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import type { Pki } from '../../src/sandbox/pki.ts';
import { freePort } from '../support/free-port.ts';
import { program } from '../support/tools.ts';

/** Brought by Debian's nginx-light. */
export const nginxProgram = program('nginx', 'nginx-light');

/** Plays S3 with files of a directory: ranges, ETag and If-Match are as S3 has them, signatures are not looked at. */
export class Nginx {
  readonly port: number;
  readonly #dir: string;
  readonly #child: ChildProcess;

  private constructor(dir: string, port: number, child: ChildProcess) {
    this.#dir = dir;
    this.port = port;
    this.#child = child;
  }

  static async start(dir: string, pki: Pki): Promise<Nginx> {
    await mkdir(join(dir, 'objects'), { recursive: true });
    await writeFile(join(dir, 'server.pem'), pki.server.cert);
    await writeFile(join(dir, 'server.key'), pki.server.key, { mode: 0o600 });
    const port = await freePort();
    await writeFile(join(dir, 'nginx.conf'), configuration(dir, port));
    const args = ['-p', dir, '-c', join(dir, 'nginx.conf'), '-e', join(dir, 'error.log')];
    const child = spawn(nginxProgram.path, args, { stdio: ['ignore', 'inherit', 'inherit'] });
    const nginx = new Nginx(dir, port, child);
    while (!(await nginx.#isUp())) {
      if (child.exitCode !== null) throw new Error(`nginx ends with ${child.exitCode}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return nginx;
  }

  get origin(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  /** Where the file of an object is to be put. Its directory is there. */
  async fileOf(bucket: string, key: string): Promise<string> {
    const path = join(this.#dir, 'objects', bucket, key);
    await mkdir(dirname(path), { recursive: true });
    return path;
  }

  /** Of each answer since the start its bytes, with its head, before TLS. */
  get sent(): number[] {
    return readFileSync(join(this.#dir, 'access.log'), 'utf8').trim().split('\n').filter(Boolean).map(Number);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exit = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGTERM');
    await exit;
  }

  #isUp(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(this.port, '127.0.0.1');
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  }
}

function configuration(dir: string, port: number): string {
  return `daemon off;
master_process off;
pid ${dir}/nginx.pid;
events { worker_connections 256; }
http {
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000;
  log_format bytes '$bytes_sent';
  access_log ${dir}/access.log bytes;
  client_body_temp_path ${dir}/tmp;
  proxy_temp_path ${dir}/tmp;
  fastcgi_temp_path ${dir}/tmp;
  uwsgi_temp_path ${dir}/tmp;
  scgi_temp_path ${dir}/tmp;
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${dir}/server.pem;
    ssl_certificate_key ${dir}/server.key;
    root ${dir}/objects;
  }
}
`;
}
