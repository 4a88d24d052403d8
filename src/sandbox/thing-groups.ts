/** Which things are in which groups, and which groups in which. */
export class ThingGroups {
  readonly #groups = new Map<string, { things: Set<string>; children: string[] }>();

  /** Puts things into a group, which is made where it is not there, then as a child of `parent` where one is named. */
  add(group: string, things: Iterable<string>, parent?: string): void {
    let made = this.#groups.get(group);
    if (made === undefined) {
      made = { things: new Set(), children: [] };
      this.#groups.set(group, made);
      if (parent !== undefined) {
        this.add(parent, []);
        this.#groups.get(parent)?.children.push(group);
      }
    }
    for (const thing of things) made.things.add(thing);
  }

  /**
   * The things of a group in the order in which they came, with `recursive` also those of its child groups, each once;
   * undefined where there is no such group.
   */
  list(group: string, recursive = false): string[] | undefined {
    const found = this.#groups.get(group);
    if (found === undefined) return undefined;
    const below = recursive ? found.children.flatMap((child) => this.list(child, true) ?? []) : [];
    return [...new Set([...found.things, ...below])];
  }
}
