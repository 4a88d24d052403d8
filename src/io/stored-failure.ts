/** What a failure in the state file still says. */
import type { Retry } from '../core/errors.ts';
import { jsonEqual } from '../core/json.ts';
import type { FileState, StoredFailure } from './state.ts';

/** The class of a failure that was stored: of a hook that failed, only one after a repair is run again. */
export function retryOf({ code, retryAtMs }: StoredFailure): Retry {
  if (retryAtMs === undefined) return 'never';
  return code === 'HOOK_FAILED' ? 'soon' : 'slow';
}

/** The stored failure of what is desired, or of the step that is pending; one of what was replaced or withdrawn is history. */
export function presentFailure({ failure, desired, pending }: Partial<FileState>): StoredFailure | undefined {
  const isPresent = failure?.step === true ? pending !== undefined : jsonEqual(failure?.value, desired);
  return isPresent ? failure : undefined;
}
