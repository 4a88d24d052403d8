/** The rollback of one file that somebody asks the agent for: one at a time, and each is answered. */
import { AgentError } from './core/errors.ts';
import { reasonError, type Snapshot } from './core/reconcile.ts';
import { agentEnds, agentIsDone } from './core/rollback.ts';
import { Latest } from './io/latest.ts';

/** How it has ended: with what is known of the file then, or an error. */
type End = Snapshot | AgentError;

/** Somebody who waits for the end. */
interface Asker {
  answer: (end: End) => void;
  isBegun: boolean;
}

export class AskedRollback {
  readonly #property: string;
  readonly #asked = new Latest(undefined);
  #asker: Asker | undefined;
  #isOver = false;

  constructor(property: string) {
    this.#property = property;
  }

  /** Aborted when somebody asks the next time. */
  get rings(): AbortSignal {
    return this.#asked.replaced;
  }

  get isBegun(): boolean {
    return this.#asker?.isBegun === true;
  }

  /** Waits for the end. @throws AgentError which it is answered with; HELD while another one waits; INSTALL when it is over */
  ask(): Promise<Snapshot> {
    return new Promise((resolve, reject) => {
      if (this.#isOver) return reject(reasonError(this.#property, agentIsDone));
      if (this.#asker !== undefined) {
        return reject(new AgentError('HELD', `${this.#property}: it is being rolled back already`));
      }
      const answer = (end: End) => (end instanceof AgentError ? reject(end) : resolve(end));
      this.#asker = { answer, isBegun: false };
      this.#asked.set(undefined);
    });
  }

  /** Whether one is asked for that is not begun yet. */
  get isWaiting(): boolean {
    return this.#asker?.isBegun === false;
  }

  begin(): void {
    if (this.#asker !== undefined) this.#asker.isBegun = true;
  }

  answer(end: End): void {
    this.#asker?.answer(end);
    this.#asker = undefined;
  }

  /** Nobody looks at it any more. */
  end(): void {
    this.#isOver = true;
    this.answer(reasonError(this.#property, this.isBegun ? agentEnds : agentIsDone));
  }
}
