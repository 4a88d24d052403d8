/** A terminal session as a person has it: what is typed goes to a shell, and the screen is read. Played by tmux. */
import { execFileSync } from 'node:child_process';
import { program } from './tools.ts';
import { until } from './world.ts';

export const tmux = program('tmux');

export class Terminal {
  readonly width: number;
  readonly #server = `shadow-agent-${process.pid}-${Math.random().toString(36).slice(2)}`;

  /** Opens a session with a plain shell in a directory. */
  constructor(
    dir: string,
    env: Readonly<Record<string, string>> = {},
    [width, height]: readonly [width: number, height: number] = [100, 50],
  ) {
    this.width = width;
    const variables = Object.entries({ PS1: '$ ', HOME: dir, ...env }).map(
      ([name, value]) => `${name}=${value}`,
    );
    const shell = ['env', '-u', 'NO_COLOR', ...variables, 'sh'];
    this.#tmux(
      '-f',
      '/dev/null',
      'new-session',
      '-d',
      '-x',
      `${width}`,
      '-y',
      `${height}`,
      '-c',
      dir,
      ...shell,
    );
  }

  #tmux(...args: string[]): string {
    return execFileSync(tmux.path, ['-L', this.#server, ...args], { encoding: 'utf8' });
  }

  /** Types a line and presses Enter. */
  type(line: string): void {
    this.#tmux('send-keys', '-l', line);
    this.press('Enter');
  }

  /** Presses a key by tmux's name for it, such as C-c. */
  press(key: string): void {
    this.#tmux('send-keys', key);
  }

  resize(width: number): void {
    this.#tmux('resize-window', '-x', `${width}`);
  }

  /** What stands on the screen, without the blanks at its ends. */
  screen(): string {
    return this.#tmux('capture-pane', '-p').trimEnd();
  }

  /** The same with the sequences of colours. */
  coloured(): string {
    return this.#tmux('capture-pane', '-p', '-e').trimEnd();
  }

  /** Waits until the screen shows it; gives back the screen. */
  async shows(what: RegExp): Promise<string> {
    let screen = '';
    const isThere = () => {
      screen = this.screen();
      return what.test(screen);
    };
    await until(`${what} on the screen`, isThere).catch((error: unknown) => {
      throw new Error(`${String(error)}\n--- screen\n${screen}`);
    });
    return screen;
  }

  close(): void {
    this.#tmux('kill-server');
  }
}
