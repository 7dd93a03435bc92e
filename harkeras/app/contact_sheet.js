// Shows moving pictures of ranges; a click says that one is wrong, a list what it is, a button keeps all.

export default function ({ data, parentElement, setTriggerValue }) {
  const root = rootOf(parentElement);
  const round = JSON.stringify(data.tiles.map(({ title, label }) => [title, label]));
  if (root.round === round) return;
  root.round = round;
  root.replaceChildren();
  const answers = data.tiles.map(({ label }) => label || null); // null: no answer yet
  const sheet = element("div", "sheet", root);
  const colors = Object.fromEntries(data.classes.map(({ name, color }) => [name, color]));

  data.tiles.forEach((tile, place) => {
    const card = element("div", "card", sheet);
    const picture = element("button", "picture", card);
    picture.type = "button";
    const image = element("img", "", picture);
    image.src = tile.picture;
    image.alt = `${tile.label || "unknown"}: ${tile.title}`;
    element("span", "cross", picture, "✕");
    const choice = element("select", "choice", card);
    choice.setAttribute("aria-label", `What it is: ${tile.title}`);
    if (!tile.label) choice.add(new Option("?", "?"));
    for (const { name } of data.classes) choice.add(new Option(name + (name === tile.label ? tile.sure : ""), name));
    choice.add(new Option("not worth a label", ""));
    element("div", "where", card, `${tile.kind}: ${tile.title}`);
    const draw = () => {
      choice.value = answers[place] ?? "?";
      card.classList.toggle("wrong", tile.label !== "" && answers[place] !== tile.label);
      card.style.setProperty("--color", colors[answers[place]] ?? "transparent");
      const count = answers.filter((answer) => answer !== null).length;
      send.disabled = count === 0;
      send.textContent = `Keep ${count === 1 ? "this answer" : `these ${count} answers`}`;
    };
    picture.title = tile.label ? "Click if this is wrong" : "";
    picture.onclick = () => {
      if (tile.label) answers[place] = answers[place] === tile.label ? "" : tile.label;
      else choice.focus();
      draw();
    };
    choice.onchange = () => {
      answers[place] = choice.value === "?" ? null : choice.value;
      draw();
    };
    card.draw = draw;
  });

  const send = element("button", "send", root);
  send.type = "button";
  send.onclick = () => {
    send.disabled = true;
    const said = answers.map((label, place) => [place, label]).filter(([, label]) => label !== null);
    setTriggerValue("answers", said);
  };
  for (const card of sheet.children) card.draw();
}
