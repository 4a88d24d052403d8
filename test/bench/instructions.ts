/** How many instructions a program for arm64 executes: the same on every machine, and near to what a board would. */
import { fileOf, program } from '../support/tools.ts';

const glibcRoot = '/usr/aarch64-linux-gnu';
const qemu = program('qemu-aarch64-static', 'qemu-user-static');
const glibc = fileOf(`${glibcRoot}/lib/ld-linux-aarch64.so.1`, 'libc6-arm64-cross');

const [newline, slash] = [0x0a, 0x2f];
/** By character: what it is worth as a digit, -1 for none. A log has a thousand million of them. */
const digits = Int8Array.from({ length: 256 }, (_, code) =>
  '0123456789abcdef'.indexOf(String.fromCharCode(code)),
);

/** The command that runs an executable for arm64. @throws Error where the emulator is not there */
export function emulated(command: readonly string[]): string[] {
  for (const { found, name, debianPackage } of [qemu, glibc]) {
    if (!found) throw new Error(`${name} is missing (apt-get install ${debianPackage})`);
  }
  return [qemu.path, '-L', glibcRoot, '-d', 'in_asm,exec,nochain', ...command];
}

/**
 * Runs an executable for arm64 to its end under qemu's user-mode emulation and counts the instructions of all its threads.
 * What the kernel does for it is not counted.
 *
 * @throws Error with its exit code, where that is not 0
 */
export async function instructionsOf(command: readonly string[], cwd: string): Promise<number> {
  const child = Bun.spawn(emulated(command), { cwd, env: {}, stdout: 'ignore', stderr: 'pipe' });
  const counter = new Counter();
  for await (const chunk of child.stderr) counter.take(chunk);
  const code = await child.exited;
  if (code !== 0) throw new Error(`${command.join(' ')} ends with ${code}`);
  return counter.total;
}

/**
 * Reads qemu's log. A block of code is written once, when it is translated, as a line `0xADDRESS: …` for each
 * instruction below `IN:`; each time that it runs as `Trace 0: … [FLAGS/ADDRESS/…]`.
 */
class Counter {
  total = 0;
  readonly #lengths = new Map<number, number>();
  #block: number | undefined;
  #rest: Uint8Array = new Uint8Array();

  take(chunk: Uint8Array): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let start = 0;
    for (let end = bytes.indexOf(newline); end !== -1; end = bytes.indexOf(newline, start)) {
      this.#line(bytes, start);
      start = end + 1;
    }
    this.#rest = bytes.slice(start);
  }

  #line(bytes: Uint8Array, start: number): void {
    switch (bytes[start]) {
      case 0x54: // Trace
        this.total += this.#lengths.get(hexAt(bytes, bytes.indexOf(slash, start) + 1)) ?? 0;
        return;
      case 0x30: // 0x…
        this.#block ??= this.#begin(hexAt(bytes, start + 2));
        this.#lengths.set(this.#block, (this.#lengths.get(this.#block) ?? 0) + 1);
        return;
      default:
        this.#block = undefined;
    }
  }

  #begin(address: number): number {
    this.#lengths.set(address, 0);
    return address;
  }
}

/** A number in hexadecimal digits, up to what is none. */
function hexAt(bytes: Uint8Array, start: number): number {
  let value = 0;
  for (let at = start; ; at += 1) {
    const digit = digits[bytes[at] ?? 0] ?? -1;
    if (digit < 0) return value;
    value = value * 16 + digit;
  }
}
