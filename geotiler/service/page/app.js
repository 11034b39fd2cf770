"use strict";

const $ = (id) => document.getElementById(id);
const POLL_MS = 400;
const FOOTPRINT = { color: "#0b6e99", weight: 1.5, fillColor: "#30b5e8", fillOpacity: 0.25 };

let key = sessionStorage.getItem("geotiler-key") || "";
let map = null;
let running = null; // { href } of the job that is waited for
let urls = []; // object URLs of the result that is shown

const headers = () => (key ? { "X-API-Key": key } : {});

async function ask(href, options = {}) {
  const answer = await fetch(href, { ...options, headers: { ...headers(), ...options.headers } });
  if (!answer.ok) throw await problemOf(answer.status, await answer.text());
  return answer;
}

function problemOf(status, text) {
  if (status === 401) $("key-line").hidden = false;
  try {
    const problem = JSON.parse(text);
    return new Error(sentence(problem));
  } catch {
    return new Error(`The service answered ${status}.`);
  }
}

function sentence(problem) {
  return problem.hint ? `${problem.detail} (${problem.hint})` : problem.detail;
}

function fail(error) {
  running = null;
  $("progress").hidden = true;
  $("error").textContent = error.message || String(error);
  $("error").hidden = false;
}

// Choosing and sending

async function loadModels() {
  const { default: chosen, models } = await (await ask("models")).json();
  $("model").replaceChildren(
    ...models
      .filter((model) => model.task === "segmentation")
      .map((model) => new Option(model.name, model.name, false, model.name === chosen)),
  );
}

function query(file) {
  const values = new URLSearchParams({ pictures: "true", name: file.name });
  for (const name of ["model", "gsd", "threshold", "min_area"]) {
    const value = $(name).value.trim();
    if (value) values.set(name, value);
  }
  if ($("separate").checked) values.set("separate", "true");
  return values;
}

function send(file) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // unlike fetch, it tells how far an upload is
    request.open("POST", `batch?${query(file)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => show("Uploading", (0.1 * event.loaded) / event.total);
    request.onerror = () => reject(new Error("The service cannot be reached."));
    request.onload = () =>
      request.status === 202
        ? resolve(JSON.parse(request.responseText))
        : reject(problemOf(request.status, request.responseText));
    request.send(file);
  });
}

async function run(file) {
  if (!file || running) return;
  $("error").hidden = $("result").hidden = true;
  running = {};
  try {
    if (!$("model").length) await loadModels();
    show("Uploading", 0);
    let job = await send(file);
    running = { href: job.href };
    while (job.state === "queued" || job.state === "running") {
      await new Promise((resume) => setTimeout(resume, POLL_MS));
      job = await (await ask(job.href)).json();
      show(job.state === "queued" ? "Waiting" : stageName(job.stage), 0.1 + 0.9 * job.progress);
    }
    if (job.state === "failed") throw new Error(sentence(job.error));
    if (job.state === "cancelled") throw new Error("Cancelled.");
    await present(job.scenes[0]);
    running = null;
    $("progress").hidden = true;
  } catch (error) {
    fail(error);
  }
}

function stageName(stage) {
  return { segment: "Segmenting", write: "Writing", vectorize: "Tracing outlines" }[stage] || "Working";
}

function show(stage, share) {
  $("progress").hidden = false;
  $("stage").textContent = stage;
  $("bar").value = share;
}

// Showing

async function present(scene) {
  const blobs = {};
  for (const result of scene.results) blobs[result.name] = await (await ask(result.href)).blob();
  urls.forEach(URL.revokeObjectURL);
  const links = Object.fromEntries(
    Object.entries(blobs).map(([name, blob]) => [name, URL.createObjectURL(blob)]),
  );
  urls = Object.values(links);
  tell(scene, links);
  const features = JSON.parse(await blobs["features.geojson"].text());
  if (window.L) draw(scene.map, links, features);
  else $("plain").src = links["mask-map.png"];
}

function tell(scene, links) {
  const { segment, vectorize } = scene;
  const rows = [["Polygons", vectorize.polygons.toLocaleString()]];
  for (const [name, area] of Object.entries(segment.class_area_m2 || {}))
    rows.push([name, `${Math.round(area).toLocaleString()} m²`]);
  if (!segment.class_area_m2)
    for (const [name, count] of Object.entries(segment.class_px))
      rows.push([name, `${count.toLocaleString()} px`]);
  rows.push(["Size", `${segment.shape[1]} × ${segment.shape[0]} px`], ["Time", `${segment.seconds} s`]);
  $("figures").replaceChildren(
    ...rows.map((cells) => {
      const row = document.createElement("tr");
      row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
      return row;
    }),
  );
  $("notices").replaceChildren(...scene.notices.map((text) => item(text)));
  const stem = scene.name.replace(/\.[^.]*$/, "");
  const labels = { "mask.tif": "Mask, GeoTIFF", "features.geojson": "Footprints, GeoJSON" };
  $("downloads").replaceChildren(
    ...Object.entries(labels).map(([name, label]) => {
      const link = Object.assign(document.createElement("a"), {
        href: links[name], download: `${stem}-${name}`, textContent: label,
      });
      return item(link);
    }),
  );
  $("result-name").textContent = scene.name;
  $("result").hidden = false;
}

function item(content) {
  const line = document.createElement("li");
  line.append(content);
  return line;
}

function draw(placed, links, features) {
  if (map) map.remove();
  const onEarth = placed.bounds_deg !== null;
  const [rows, columns] = placed.shape;
  map = L.map("map", { crs: onEarth ? L.CRS.EPSG3857 : L.CRS.Simple, maxZoom: 24, minZoom: -8,
    zoomSnap: 0.25, attributionControl: false });
  const [west, south, east, north] = onEarth ? placed.bounds_deg : [0, 0, columns, rows];
  const bounds = [[south, west], [north, east]];
  const layers = {
    Scene: L.imageOverlay(links["scene-map.png"], bounds),
    Mask: L.imageOverlay(links["mask-map.png"], bounds),
    Footprints: L.geoJSON(features, {
      style: FOOTPRINT,
      coordsToLatLng: ([x, y]) => (onEarth ? L.latLng(y, x) : onPicture(x, y, placed)),
      onEachFeature: (feature, layer) => layer.bindPopup(() => described(feature.properties)),
    }),
  };
  for (const layer of Object.values(layers)) layer.addTo(map);
  L.control.layers(null, layers, { collapsed: false }).addTo(map);
  if (onEarth) L.control.scale({ imperial: false }).addTo(map);
  map.fitBounds(bounds);
}

function onPicture(x, y, { shape: [rows], transform: [a, b, c, d, e, f] }) {
  // Coordinates of a raster without a CRS are those of its transform; the map counts upwards.
  const [right, down, area] = [x - c, y - f, a * e - b * d];
  return L.latLng(rows - (a * down - d * right) / area, (e * right - b * down) / area);
}

function described(properties) {
  const list = document.createElement("div");
  for (const [name, value] of Object.entries(properties)) {
    const line = document.createElement("div");
    line.textContent = `${name}: ${value}`;
    list.append(line);
  }
  return list;
}

// Wiring

function begin() {
  if (!window.L) {
    $("map").hidden = true;
    $("no-map").hidden = false;
  }
  $("file").addEventListener("change", () => {
    run($("file").files[0]);
    $("file").value = "";
  });
  for (const name of ["dragover", "dragleave", "drop"])
    document.body.addEventListener(name, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", name === "dragover");
      if (name === "drop") run(event.dataTransfer.files[0]);
    });
  $("drop").addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") $("file").click();
  });
  $("cancel").addEventListener("click", () => {
    if (running && running.href) ask(running.href, { method: "DELETE" }).catch(fail);
  });
  $("key").addEventListener("change", () => {
    key = $("key").value;
    sessionStorage.setItem("geotiler-key", key);
    $("error").hidden = true;
    loadModels().catch(fail);
  });
  loadModels().catch(fail);
  fetch("openapi.json").then(async (answer) => {
    $("version").textContent = (await answer.json()).info.version;
  });
}

begin();
