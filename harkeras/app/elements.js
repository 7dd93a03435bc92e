// What stands before the script of each component: elements of the page, times, and the player.

function element(name, className, parent, text) {
  const made = document.createElement(name);
  made.className = className;
  if (text !== undefined) made.textContent = text; // never as HTML: names come from users
  parent.appendChild(made);
  return made;
}

function rootOf(parentElement) {
  return parentElement.querySelector(".root") ?? element("div", "root", parentElement);
}

// 7.5 -> 0:07.5, 3725 -> 1:02:05.0
function clock(seconds, digits) {
  const whole = Math.round(seconds * 10 ** digits) / 10 ** digits; // 59.99 is 1:00.0
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = (whole % 60).toFixed(digits).padStart(digits + 3, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// The video in the container of a class.
function playerIn(className) {
  return document.querySelector(`.${CSS.escape(className)} video`);
}

// Calls a function for each picture that the browser draws; returns what ends that.
function everyFrame(draw) {
  let frame = requestAnimationFrame(function next() {
    draw();
    frame = requestAnimationFrame(next);
  });
  return () => cancelAnimationFrame(frame);
}
