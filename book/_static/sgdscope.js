// Two conveniences; without JavaScript the book says and does the same. Nothing is loaded, nothing is stored.
document.addEventListener('DOMContentLoaded', () => {
  // A figure as an SVG file: the inline drawing in its light colours on white.
  for (const links of document.querySelectorAll('.sgd-figure .sgd-download')) {
    const svg = links.parentElement.querySelector('svg')
    const name = (links.querySelector('a')?.download || 'figure.csv').replace(/csv$/, 'svg')
    if (!svg) continue
    const link = document.createElement('a')
    link.textContent = 'Picture (SVG)'
    link.download = name
    link.href = '#'
    link.addEventListener('click', () => {
      const copy = svg.cloneNode(true)
      copy.setAttribute('style', 'background: #fff')
      const text = new XMLSerializer().serializeToString(copy).replace(/var\(--[\w-]+, (#\w+)\)/g, '$1')
      link.href = URL.createObjectURL(new Blob([text], {type: 'image/svg+xml'}))
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
    })
    links.append(' ', link)
  }

  // The scorecard: choose a verdict, or search.
  const bar = document.querySelector('.sgd-filter')
  if (!bar) return
  const rows = [...document.querySelectorAll('table.sgd-scorecard tbody tr')]
  const names = {reproduced: 'reproduced', partly: 'partly', 'not reproduced': 'not reproduced', 'not run': 'not run', missing: 'no page yet'}
  let verdict = ''
  const search = Object.assign(document.createElement('input'), {type: 'search', placeholder: 'Search claims'})
  search.setAttribute('aria-label', 'Search claims')
  const buttons = ['', ...Object.keys(names)].map(value => {
    const count = rows.filter(row => !value || row.dataset.verdict === value).length
    const button = Object.assign(document.createElement('button'), {type: 'button', textContent: `${names[value] || 'all'} ${count}`, disabled: !count})
    button.addEventListener('click', () => { verdict = value; apply() })
    return [value, button]
  })
  const said = document.createElement('span')
  said.setAttribute('role', 'status')
  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean)
    for (const row of rows) {
      const text = row.textContent.toLowerCase()
      row.hidden = (verdict && row.dataset.verdict !== verdict) || !words.every(word => text.includes(word))
    }
    for (const box of document.querySelectorAll('.sgd-table-wrap:has(.sgd-scorecard)')) box.hidden = !box.querySelector('tbody tr:not([hidden])')
    for (const fold of document.querySelectorAll('details.sgd-waiting')) {
      fold.hidden = !fold.querySelector('tbody tr:not([hidden])')
      fold.open = !fold.hidden && (verdict === 'missing' || words.length > 0)
    }
    for (const [value, button] of buttons) button.setAttribute('aria-pressed', value === verdict)
    const shown = rows.filter(row => !row.hidden).length
    said.textContent = shown === rows.length ? '' : `${shown} of ${rows.length} claims`
  }
  search.addEventListener('input', apply)
  bar.append(...buttons.map(([, button]) => button), search, said)
  bar.hidden = false
  apply()
})
