export function About() {
  return (
    <p>
      This page is served by <code>${{ values.name }}-frontend</code>; its numbers come from <code>${{ values.name }}-backend</code>.
    </p>
  );
}
