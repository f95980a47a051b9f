// The state of things at a glance: coverage, ages, durations, throttling, verifications and drills.
param location string
param tags object
param token string
param workspaceId string
param vaultNames array

var vaultList = [for name in vaultNames: '\'${toLower(name)}\'']

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, token, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'keyvault-backup'
    category: 'workbook'
    version: 'Notebook/1.0'
    sourceId: workspaceId
    serializedData: replace(loadTextContent('../workbook.json'), '$vaults$', join(vaultList, ', '))
  }
}
