// What test_browser.py asks of an open page. Each check returns a list of what is wrong.
window.checks = (() => {
  const article = () => document.querySelector('article') || document.body
  const without = selector => {
    const copy = article().cloneNode(true)
    copy.querySelectorAll(selector).forEach(node => node.remove())
    return copy
  }

  function unlabelled() {
    const said = (node, ...names) => names.some(name => (node.getAttribute(name) || '').trim())
    const all = selector => [...document.querySelectorAll(selector)]
    return [
      ...all('img').filter(node => !said(node, 'alt')),
      ...all('svg[role=img]:not([aria-hidden=true])').filter(node => !said(node, 'aria-label', 'aria-labelledby')),
      ...all('.sgd-figure svg, figure svg').filter(node => node.getAttribute('role') !== 'img'),
    ].map(node => node.outerHTML.slice(0, 120))
  }

  function placeholders() {
    const copy = without('pre, code, script, style, svg, mjx-container, dl.py'), found = []
    for (const mark of ['??', '{glue', '{cite', '{eq}', '{ref}', '{include}', '```', ':::', 'KeyError', '[missing']) {
      const at = copy.textContent.indexOf(mark)
      if (at >= 0) found.push(`${mark} in: ${copy.textContent.slice(Math.max(0, at - 40), at + 40)}`)
    }
    for (const node of copy.querySelectorAll('td, th, dd, li, p, span, strong, em, figcaption'))
      if (/^(None|nan|NaN|undefined|null)$/.test(node.textContent.trim())) found.push(`${node.tagName}: ${node.textContent.trim()}`)
    return found
  }

  function rawMathematics() {
    const found = []
    for (const node of document.querySelectorAll('.math'))
      if (!node.querySelector('mjx-container')) found.push(`not typeset: ${node.textContent.slice(0, 60)}`)
    for (const node of document.querySelectorAll('mjx-merror')) found.push(`error: ${node.textContent.slice(0, 60)}`)
    const text = without('pre, code, script, mjx-container').textContent
    for (const mark of ['$$', '\\(', '\\[', '\\frac', '\\lambda']) if (text.includes(mark)) found.push(`raw ${mark}`)
    return found
  }

  function wide() {
    const width = document.documentElement.clientWidth, whole = document.documentElement.scrollWidth
    if (whole <= width) return []
    const reach = node => Math.round(node.getBoundingClientRect().right)
    const nodes = [...document.querySelectorAll('body *')].filter(node => reach(node) > width + 1).slice(0, 8)
    return [`the page is ${whole} wide on ${width}`, ...nodes.map(node => `${node.tagName}.${node.className} to ${reach(node)}`)]
  }

  // Contrast after WCAG 2: relative luminance of the text's colour and of what lies behind it, translucent layers composed.
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
  function rgba(colour) {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = colour
    canvas.fillRect(0, 0, 1, 1)
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data
    return [red, green, blue, alpha / 255]
  }
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1)
  function behind(node) {
    const layers = []
    for (let at = node; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor)
      if (colour[3] > 0) layers.push(colour)
      if (colour[3] === 1) break
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1])
  }
  function luminance(colour) {
    const [red, green, blue] = colour.map(value => value / 255).map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }

  function faint(selector) {
    const found = {}
    for (const node of document.querySelectorAll(selector)) {
      const own = [...node.childNodes].some(child => child.nodeType === Node.TEXT_NODE && child.textContent.trim())
      if (!own || !node.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue
      if (node.closest('mjx-container, svg, .headerlink, .copybtn')) continue
      const style = getComputedStyle(node), ground = behind(node), colour = rgba(style.color)
      for (let at = node; at; at = at.parentElement) colour[3] *= parseFloat(getComputedStyle(at).opacity)
      const [bright, dim] = [luminance(over(colour, ground)), luminance(ground)].sort((a, b) => b - a)
      const contrast = (bright + 0.05) / (dim + 0.05), size = parseFloat(style.fontSize)
      const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700)
      if (contrast < (large ? 3 : 4.5)) {
        const where = `${node.tagName}.${node.className} ${style.color} on ${ground.slice(0, 3)}`
        found[where] = `${contrast.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`
      }
    }
    return Object.entries(found).map(([where, what]) => `${where} ${what}`)
  }

  const tags = 'p li a td th dt dd h1 h2 h3 h4 code figcaption span strong em div summary'.split(' ')
  const parts = ['article', '.bd-sidebar-primary', '.bd-sidebar-secondary', '.bd-footer']
  const text = parts.flatMap(part => tags.map(tag => `${part} ${tag}`)).join(', ')

  return {unlabelled, placeholders, rawMathematics, wide, faint: (selector = text) => faint(selector)}
})()
