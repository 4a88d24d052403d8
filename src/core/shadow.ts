/** `$aws/things/…/shadow`, or `…/shadow/name/…` of a named shadow. Source: AWS IoT developer guide, reserved-topics. */
export function shadowPrefix(thingName: string, shadowName?: string): string {
  const classic = `$aws/things/${thingName}/shadow`;
  return shadowName === undefined ? classic : `${classic}/name/${shadowName}`;
}
