throw new Error('it does not like to be loaded')
