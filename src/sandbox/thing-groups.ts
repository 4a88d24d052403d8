/** Which things are in which groups. */
export class ThingGroups {
  readonly #groups = new Map<string, Set<string>>();

  /** Puts things into a group, which is made where it is not there. */
  add(group: string, things: Iterable<string>): void {
    const members = this.#groups.get(group) ?? new Set();
    for (const thing of things) members.add(thing);
    this.#groups.set(group, members);
  }

  /** The things of a group in the order in which they came; undefined where there is no such group. */
  list(group: string): string[] | undefined {
    const members = this.#groups.get(group);
    return members === undefined ? undefined : [...members];
  }
}
