"use strict";
// Whatever a model or a server says is shown by textContent: nothing of it is ever markup.
const settings = JSON.parse(document.getElementById("settings").textContent);
const form = document.getElementById("form");
const send = document.getElementById("send");
const result = document.getElementById("result");
const shown = document.getElementById("shown");
const chosen = document.getElementById("image");

function add(parent, tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  parent.append(element);
  return element;
}

function bars(scores) {
  const rows = Object.entries(scores).sort((a, b) => b[1] - a[1]);
  for (const [label, score] of rows) {
    const row = add(result, "div", undefined, "row");
    const line = add(row, "div", undefined, "names");
    add(line, "b", label);
    add(line, "span", (100 * score).toFixed(1) + " %");
    add(add(row, "div", undefined, "bar"), "div").style.width = 100 * score + "%";
  }
}

function entities(text, found) {
  const line = add(result, "p", undefined, "answer");
  const letters = Array.from(text); // places count characters, not halves of them
  let place = 0;
  for (const entity of found) {
    line.append(letters.slice(place, entity.start).join(""));
    const mark = add(line, "mark", entity.text);
    add(mark, "small", entity.kind);
    place = entity.end;
  }
  line.append(letters.slice(place).join(""));
}

function tags(words, predicted) {
  const table = add(result, "table");
  words.forEach((word, index) => {
    const row = add(table, "tr");
    add(row, "td", word);
    add(row, "td", predicted[index] === null ? "" : predicted[index]);
  });
}

const colour = (index) => `hsl(${(index * 137.5 + 210) % 360} 85% 50%)`;

function canvas(width, height) {
  const surface = add(result, "canvas");
  surface.width = width;
  surface.height = height;
  return surface.getContext("2d");
}

function boxes(picture, prediction) {
  const context = canvas(picture.width, picture.height);
  context.drawImage(picture, 0, 0);
  const size = Math.max(12, picture.width / 25);
  context.lineWidth = Math.max(2, picture.width / 300);
  context.font = `${size}px system-ui, sans-serif`;
  const names = [...new Set(prediction.labels)];
  const drawn = prediction.boxes.map((box, index) => [box, prediction.labels[index], prediction.scores[index]]);
  for (const [box, label, score] of drawn.filter((row) => row[2] >= 0.5)) {
    context.strokeStyle = context.fillStyle = colour(names.indexOf(label));
    context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    context.fillText(`${label} ${score.toFixed(2)}`, box[0] + 2, Math.max(size, box[1] - 4));
  }
  add(result, "p", `${drawn.length} found; drawn are those with a score of at least 0.5`, "dim");
  drawn.sort((a, b) => b[2] - a[2]).slice(0, 20).forEach((row) => bars({ [row[1]]: row[2] }));
}

async function mask(picture, png) {
  const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const context = canvas(image.width, image.height);
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height);
  const values = [...new Set(pixels.data.filter((_, index) => index % 4 === 0))].sort((a, b) => a - b);
  context.drawImage(picture, 0, 0, image.width, image.height);
  context.globalAlpha = 0.45;
  for (const value of values.slice(1)) {
    context.fillStyle = colour(values.indexOf(value));
    for (let y = 0; y < image.height; y += 1) {
      for (let x = 0, begin = -1; x <= image.width; x += 1) {
        const inside = x < image.width && pixels.data[4 * (y * image.width + x)] === value;
        if (inside && begin < 0) begin = x;
        if (!inside && begin >= 0) {
          context.fillRect(begin, y, x - begin, 1);
          begin = -1;
        }
      }
    }
  }
}

async function show(prediction, given) {
  if (prediction.boxes) {
    boxes(given, prediction);
  } else if (prediction.shares) {
    await mask(given, prediction.mask_png);
    bars(prediction.shares);
  } else if (prediction.predicted_tags) {
    if (prediction.entities) entities(given, prediction.entities);
    tags(prediction.words, prediction.predicted_tags);
  } else {
    const answer = prediction.prediction;
    const said = Array.isArray(answer) ? answer.join(", ") || "none" : String(answer ?? "not sure enough to say");
    add(result, "p", said, "answer");
    if (prediction.scores) bars(prediction.scores);
    (prediction.masks || []).forEach((likeliest) => bars(likeliest));
  }
}

function refused(problems) {
  for (const problem of problems) {
    add(result, "p", (problem.where ? problem.where + ": " : "") + problem.what, "problem");
    if (problem.expected) add(result, "p", "expected: " + problem.expected, "dim");
    if (problem.cure) add(result, "p", "to fix: " + problem.cure, "dim");
  }
}

async function request() {
  if (settings.image) {
    const file = chosen.files[0];
    const body = await file.arrayBuffer();
    const answer = await fetch("/predict", { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } });
    return [answer, () => createImageBitmap(file)];
  }
  const values = settings.columns.map((_, index) => document.getElementById("column-" + index).value);
  const input = values.length === 1 ? values[0] : Object.fromEntries(settings.columns.map((name, index) => [name, values[index]]));
  const body = JSON.stringify({ inputs: [input] });
  const answer = await fetch("/predict", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  return [answer, async () => values[0]];
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  send.disabled = true;
  try {
    const [answer, given] = await request();
    const content = await answer.json();
    result.replaceChildren();
    if (answer.ok) await show(content.predictions[0], await given());
    else refused(content.error.problems);
  } catch (error) {
    result.replaceChildren();
    refused([{ what: "no answer: " + error.message, cure: "see whether the server still runs" }]);
  }
  result.hidden = false;
  send.disabled = false;
});

if (chosen) {
  chosen.addEventListener("change", () => {
    const file = chosen.files[0];
    shown.hidden = !file;
    if (file) shown.src = URL.createObjectURL(file);
    result.hidden = true;
  });
}
