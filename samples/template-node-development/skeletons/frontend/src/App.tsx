import { NavLink, Route, Routes } from "react-router-dom";
import { About } from "./pages/About";
import { Overview } from "./pages/Overview";
import labels from "./labels.json";

export function App() {
  return (
    <>
      <header>
        <h1>{labels.title}</h1>
        <nav aria-label="Pages">
          <NavLink to="/">Overview</NavLink>
          <NavLink to="/about">About</NavLink>
        </nav>
      </header>
      <main>
        <Routes>
          <Route path="/" element={<Overview />} />
          <Route path="/about" element={<About />} />
          <Route path="*" element={<p>There is no such page.</p>} />
        </Routes>
      </main>
    </>
  );
}
