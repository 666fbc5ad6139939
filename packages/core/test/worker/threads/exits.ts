export default await new Promise(resolve => process.exit(4) ?? resolve)
