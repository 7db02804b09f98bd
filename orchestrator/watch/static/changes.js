// Applies a change that orchestrator/watch/changes.py made.
export function applied(old, change) {
  if (change === null || change === undefined) return old;
  if ("value" in change) return change.value;
  if ("tail" in change) return [...old, ...change.tail];
  const kept = { ...old };
  for (const name of change.gone ?? []) delete kept[name];
  for (const [name, field] of Object.entries(change.fields)) kept[name] = applied(kept[name], field);
  return kept;
}
